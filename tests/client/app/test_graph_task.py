import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from fedsieve.client.app.graph_task import GraphTask
from fedsieve.inputs import Graph
from fedsieve.models.gcn import GCN

CPU = torch.device("cpu")


class Fixed(nn.Module):
    """Predicts what it is told to."""

    def __init__(self, classes: list[int]) -> None:
        super().__init__()
        self.logits = nn.Parameter(5.0 * torch.eye(3)[classes])

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.logits


def task(graph: Data) -> GraphTask:
    return GraphTask(graph, Graph(torch.randn(4, 8), torch.tensor([[0], [1]])), CPU)


def test_accuracies_are_over_the_nodes_of_each_mask(odd_graph: Data):
    # y = 0 1 2 | 0 | 1 2; node 3 is for validation, nodes 4 and 5 for testing
    found = task(odd_graph).evaluate(Fixed([2, 2, 2, 0, 1, 0]))
    assert (found.val_accuracy, found.val_count, found.test_accuracy, found.test_count) == (1.0, 1, 0.5, 2)
    # F1 of class 1 is 1, of classes 0 (predicted) and 2 (missed) 0
    assert found.test_macro_f1 == pytest.approx(1 / 3)


def test_evaluation_and_embedding_are_without_dropout_whatever_mode_the_model_comes_in(odd_graph: Data):
    model, given = GCN(odd_graph.num_features, 3, hidden_dim=16, dropout=0.9), task(odd_graph)
    random_graph = torch.randn(4, odd_graph.num_features)
    given.proxy = Graph(random_graph, torch.tensor([[0], [1]]))
    seen = []
    for mode in (True, False, True):
        model.train(mode)
        embedding = given.functional_embedding(model)
        model.train(mode)
        seen.append((given.evaluate(model), embedding.tolist()))
    assert seen[0] == seen[1] == seen[2]


def test_a_graph_without_test_nodes_counts_none(odd_graph: Data):
    odd_graph.test_mask[:] = False
    found = task(odd_graph).evaluate(Fixed([0] * 6))
    assert (found.test_accuracy, found.test_count, found.test_macro_f1) == (0.0, 0, 0.0)


def test_the_loss_is_the_cross_entropy_of_the_training_nodes_alone(odd_graph: Data):
    whole = task(odd_graph)
    model = Fixed([0, 1, 0, 0, 0, 0])
    (batch,) = whole.batches()
    e = torch.tensor(5.0).exp()
    right, wrong = -(e / (e + 2)).log(), -(1 / (e + 2)).log()
    loss = whole.loss(model, batch)
    assert loss.item() == pytest.approx((2 * right + wrong).item() / 3, rel=1e-5)
    loss.backward()
    assert model.logits.grad[3:].eq(0).all()  # type: ignore[index]
    assert whole.num_examples == 3
