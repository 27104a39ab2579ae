import networkx as nx
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv
from torch_geometric.utils import from_networkx

from fedsieve.models.gcn import GCN, SPARSE_BELOW, GraphConvolution, propagation


def graphs() -> list:
    """Sparse and dense features; both directions, one direction, isolated nodes, no edges, one node."""
    torch.manual_seed(3)
    community = from_networkx(nx.random_partition_graph([20, 20], 0.3, 0.02, seed=1)).edge_index
    directed = torch.randint(0, 40, (2, 60))
    lonely = torch.tensor([[0, 1, 3], [1, 0, 7]])
    none = torch.zeros(2, 0, dtype=torch.int64)
    dense, sparse = torch.randn(40, 50), torch.randn(40, 50) * (torch.rand(40, 50) < SPARSE_BELOW / 2)
    edges = {"undirected": community, "directed": directed, "isolated": lonely, "no edges": none}
    cases = [
        pytest.param(Data(x=x, edge_index=index), id=f"{name}, {kind}")
        for name, index in edges.items()
        for kind, x in (("dense", dense), ("sparse", sparse), ("zero", torch.zeros(40, 50)))
    ]
    return [*cases, pytest.param(Data(x=torch.randn(1, 50), edge_index=none), id="one node")]


def twin(conv: GraphConvolution) -> GCNConv:
    """Return PyG's layer with the same weights."""
    theirs = GCNConv(*conv.weight.shape)
    theirs.lin.weight.data, theirs.bias.data = conv.weight.data.t().clone(), conv.bias.data.clone()
    return theirs


def close(a: Tensor | None, b: Tensor | None) -> None:
    assert a is not None
    assert b is not None
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("graph", graphs())
def test_the_fast_first_layer_is_pygs(graph: Data):
    ours = GraphConvolution(50, 6)
    nn.init.normal_(ours.bias)
    theirs = twin(ours)
    upstream = torch.randn(graph.num_nodes, 6)
    mine, other = ours.first(propagation(graph.x, graph.edge_index)), theirs(graph.x, graph.edge_index)
    close(mine, other)
    mine.backward(upstream)
    other.backward(upstream)
    close(ours.weight.grad, theirs.lin.weight.grad.t())
    close(ours.bias.grad, theirs.bias.grad)


@pytest.mark.parametrize("graph", graphs())
def test_the_second_layer_is_pygs(graph: Data):
    ours = GraphConvolution(5, 6)
    nn.init.normal_(ours.bias)
    theirs = twin(ours)
    hidden = torch.randn(graph.num_nodes, 5)
    mine, other = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    upstream = torch.randn(graph.num_nodes, 6)
    a, b = ours(mine, propagation(graph.x, graph.edge_index)), theirs(other, graph.edge_index)
    close(a, b)
    a.backward(upstream)
    b.backward(upstream)
    close(ours.weight.grad, theirs.lin.weight.grad.t())
    close(ours.bias.grad, theirs.bias.grad)
    close(mine.grad, other.grad)


class Explicit(nn.Module):
    """The network of the paper with PyG's layers."""

    def __init__(self, model: GCN) -> None:
        super().__init__()
        self.conv1, self.conv2, self.classifier = twin(model.conv1), twin(model.conv2), model.classifier

    def second(self, graph: Data) -> Tensor:
        return self.conv2(self.conv1(graph.x, graph.edge_index).relu(), graph.edge_index)

    def forward(self, graph: Data) -> Tensor:
        return self.classifier(self.second(graph).relu())


@pytest.mark.parametrize("graph", graphs())
def test_logits_and_embedding_are_those_of_the_network_made_of_pygs_layers(graph: Data):
    model = GCN(50, 3, hidden_dim=7).eval()
    for bias in (model.conv1.bias, model.conv2.bias):
        nn.init.normal_(bias)
    explicit = Explicit(model)
    close(model(graph.x, graph.edge_index), explicit(graph))
    close(model.embed(graph.x, graph.edge_index), explicit.second(graph).mean(dim=0))


def test_dropout_follows_both_convolutions_and_training_alone(odd_graph: Data):
    fast = odd_graph.x, odd_graph.edge_index
    model = GCN(8, 3, hidden_dim=64, dropout=0.5)
    seen: list[Tensor] = []
    model.conv2.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.eval()(*fast)
    model.train()(*fast)
    plain, dropped = seen[:2], seen[2:]
    kept = dropped[0] != 0
    assert torch.allclose(dropped[0][kept], 2 * plain[0][kept])
    for calm, noisy in zip(plain, dropped, strict=True):
        assert 0.3 < ((noisy == 0).float().mean() - (calm == 0).float().mean()) / (calm != 0).float().mean() < 0.7


def test_the_first_layer_starts_as_pygs_does():
    limit = (6 / (400 + 100)) ** 0.5  # Glorot and Bengio 2010: uniform within ± √(6 / (fan in + fan out))
    conv = GraphConvolution(400, 100)
    assert conv.bias.eq(0).all()
    assert conv.weight.abs().max() <= limit
    assert conv.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.02)
