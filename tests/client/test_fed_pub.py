import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedsieve.client.app.graph_task import GraphTask
from fedsieve.client.fed_pub import FedPubTrainer
from fedsieve.config import RunConfig
from fedsieve.inputs import Graph
from fedsieve.models.gcn import GCN, find_products
from fedsieve.protocols.fed_pub import EMBEDDING
from tests.client.toy import Toy, arrays, linear
from tests.helpers import config

SGD = {"optimizer": "sgd", "lr": 0.5, "weight-decay": 0.0, "fed-pub.lambda2": 0.0}


def made(keys: dict[str, object], model: nn.Module | None = None) -> FedPubTrainer:
    run = config({"algorithm": "fed-pub"} | keys)
    return FedPubTrainer(run, run.settings, linear([9.0, 9.0], 9.0) if model is None else model)


def mask(values: list[float]) -> dict[str, Tensor]:
    return {"mask/weight": torch.tensor([values])}


def flat(tensor: Tensor) -> list[float]:
    return tensor.flatten().tolist()


def test_a_mask_starts_at_one_stays_in_the_state_and_is_never_sent():
    result = made(SGD | {"fed-pub.sparsity": "none"}).train(Toy(), arrays([1.0, 2.0], 3.0), {})
    assert set(result.arrays) == {"weight", "bias", EMBEDDING}
    # d/dW = μ·x = (1, 2) with μ = 1, d/dμ = W·x = (1, 4)
    assert flat(result.arrays["weight"]) == [0.5, 1.0]
    assert flat(result.arrays["bias"]) == [2.5]
    assert flat(result.state["mask/weight"]) == [0.5, -1.0]
    assert "mask/bias" not in result.state


def test_the_mask_comes_from_the_state_and_weights_from_the_server():
    ours = made(SGD | {"fed-pub.sparsity": "none", "fed-pub.threshold": 0.0})
    result = ours.train(Toy(), arrays([1.0, 2.0], 3.0), mask([0.5, -1.0]))
    assert flat(result.arrays["weight"]) == [1 - 0.5 * 0.5 * 1, 2 - 0.5 * -1 * 2]
    assert flat(result.state["mask/weight"]) == [0.5 - 0.5 * 1, -1 - 0.5 * 4]


def test_as_printed_the_mask_feels_the_l1_term():
    keys = {"fed-pub.sparsity": "subgradient", "fed-pub.lambda1": 0.25, "fed-pub.threshold": 0.0}
    result = made(SGD | keys).train(Toy(), arrays([1.0, 2.0], 3.0), mask([0.5, -1.0]))
    # λ1·sign(μ) = (0.25, -0.25) beside W·x = (1, 4)
    assert flat(result.state["mask/weight"]) == [0.5 - 0.5 * 1.25, -1 - 0.5 * 3.75]
    assert flat(result.arrays["weight"]) == [0.75, 3.0]


@pytest.mark.parametrize("sparsity", ["subgradient", "proximal"])
def test_the_weights_are_held_near_those_received(sparsity: str):
    keys = {"fed-pub.sparsity": sparsity, "fed-pub.lambda1": 0.0, "fed-pub.lambda2": 0.125, "fed-pub.prox": 0.0}
    twice = {"local-epochs": 2}
    result = made(SGD | keys | twice).train(Toy(), arrays([1.0, 2.0], 3.0), {})
    # step 1 as without: W = (0.5, 1), μ = (0.5, -1), b = 2.5
    # step 2: d/dW = μ·x + 2·λ2·(W - θ̄) = (0.5, -2) + 0.25·(-0.5, -1); d/db = 1 + 0.25·(-0.5)
    assert flat(result.arrays["weight"]) == pytest.approx([0.5 - 0.5 * 0.375, 1 - 0.5 * -2.25])
    assert flat(result.arrays["bias"]) == pytest.approx([2.5 - 0.5 * 0.875])


def test_the_published_code_has_neither_term():
    loud = {"fed-pub.lambda1": 9.0, "fed-pub.lambda2": 9.0, "fed-pub.prox": 9.0, "local-epochs": 2}
    quiet = {"fed-pub.lambda1": 0.0, "fed-pub.lambda2": 0.0, "fed-pub.prox": 0.0, "local-epochs": 2}
    results = [
        made({**SGD, **keys, "fed-pub.sparsity": "none"}).train(Toy(), arrays([1.0, 2.0], 3.0), {})
        for keys in (loud, quiet)
    ]
    for name in ("weights/weight", "weights/bias", "mask/weight"):
        assert torch.equal(results[0].state[name], results[1].state[name])


def test_the_proximal_step_shrinks_the_mask_by_lr_times_prox():
    keys = {"fed-pub.sparsity": "proximal", "fed-pub.prox": 0.5, "fed-pub.prox-power": 0.0, "fed-pub.lambda1": 9.0}
    result = made(SGD | keys).train(Toy(), arrays([0.5, 0.25], 0.0), {})
    # d/dμ = (0.5, 0.5): μ = (0.75, 0.75) after the step, then lr·prox = 0.25 less
    assert flat(result.state["mask/weight"]) == [0.5, 0.5]


def test_the_proximal_step_spares_large_weights():
    keys = {"fed-pub.sparsity": "proximal", "fed-pub.prox": 0.125, "fed-pub.prox-power": 2.0}
    result = made(SGD | keys).train(Toy(), arrays([2.5, 2.0], 0.0), {})
    # after the step W = (2, 1) of mean 1.5, and μ = (1 - 0.5·2.5, 1 - 0.5·4) = (-0.25, -1)
    # steps: 0.0625·(1.5/2)² and 0.0625·(1.5/1)²
    assert flat(result.state["mask/weight"]) == pytest.approx([-0.25 + 0.03515625, -1 + 0.140625])


def test_the_threshold_counts_in_evaluation_embedding_sparsity_and_the_personal_model():
    keys = {"fed-pub.sparsity": "none", "fed-pub.threshold": 0.75}
    ours, task = made(SGD | keys), Toy()
    result = ours.train(task, arrays([1.0, 2.0], 3.0), mask([0.9, 0.6]))
    # in training the mask is used as it is: μ = (0.9 - 0.5, 0.6 - 2), W = (1 - 0.45, 2 - 0.6)
    assert flat(task.seen[0]) == pytest.approx([0.9, 0.0])
    folded = [0.0, 1.4 * -1.4]
    assert flat(task.seen[1]) == pytest.approx(folded)
    assert flat(result.arrays[EMBEDDING]) == pytest.approx(folded)
    assert flat(ours.personal_model(result.state)["weight"]) == pytest.approx(folded)
    assert flat(ours.personal_model(result.state)["bias"]) == [2.5]
    assert result.metrics["mask-sparsity"] == 0.5


def test_one_trainer_serves_clients_in_turn():
    keys = SGD | {"fed-pub.sparsity": "none", "momentum": 0.5}
    shared, alone = made(keys), [made(keys), made(keys)]
    states: list[dict[str, Tensor]] = [{}, {}]
    own: list[dict[str, Tensor]] = [{}, {}]
    for turn in range(3):
        for client in (0, 1):
            start = arrays([1.0 + client, float(turn)], 1.0)
            copied = {name: tensor.clone() for name, tensor in start.items()}
            states[client] = shared.train(Toy(), start, states[client]).state
            own[client] = alone[client].train(Toy(), copied, own[client]).state
    for client in (0, 1):
        assert all(torch.equal(states[client][name], own[client][name]) for name in own[client])


class Masked(nn.Module):
    """The GCN with a plain mask parameter beside each matrix, multiplied by hand."""

    def __init__(self, model: GCN) -> None:
        super().__init__()
        self.w = nn.ParameterDict({name.replace(".", "_"): p.detach().clone() for name, p in model.named_parameters()})
        self.m = nn.ParameterDict({name: torch.ones_like(p) for name, p in self.w.items() if p.dim() == 2})

    def forward(self, task: GraphTask) -> Tensor:
        w = {name: p * self.m[name] if name in self.m else p for name, p in self.w.items()}
        graph = find_products(task.graph.x, task.graph.edge_index)
        hidden = (graph.a_hat_x @ w["conv1_weight"] + w["conv1_bias"]).relu()
        hidden = (graph.a_hat @ (hidden @ w["conv2_weight"]) + w["conv2_bias"]).relu()
        return hidden @ w["classifier_weight"].T + w["classifier_bias"]


def test_without_sparsity_a_round_is_torchs_adam_on_the_cross_entropy_of_masked_weights(odd_graph):
    run: RunConfig = config({"algorithm": "fed-pub", "fed-pub.sparsity": "none", "dropout": 0.0, "local-epochs": 4})
    model = GCN(8, 3, hidden_dim=5, dropout=0.0)
    theirs = Masked(model)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    task = GraphTask(odd_graph, Graph(torch.randn(9, 8), torch.tensor([[0, 1], [1, 0]])), torch.device("cpu"))
    result = FedPubTrainer(run, run.settings, model).train(task, start, {})
    adam = torch.optim.Adam(theirs.parameters(), lr=0.01, weight_decay=1e-6)
    for _ in range(4):
        adam.zero_grad()
        cross_entropy(theirs(task)[odd_graph.train_mask], odd_graph.y[odd_graph.train_mask]).backward()
        adam.step()
    for name, parameter in theirs.w.items():
        torch.testing.assert_close(result.arrays[name.replace("_", ".", 1)], parameter.data, rtol=1e-4, atol=1e-5)
    for name, parameter in theirs.m.items():
        kept = result.state[f"mask/{name.replace('_', '.', 1)}"]
        torch.testing.assert_close(kept, parameter.data, rtol=1e-4, atol=1e-5)
