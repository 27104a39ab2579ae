import copy
import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fedsieve.inputs import Graph
from fedsieve.masks import pruning
from fedsieve.masks.pruning import prune, pruner_names
from fedsieve.masks.synflow import Flow
from fedsieve.models.gcn import GCN
from fedsieve.models.lenet import LeNet

LENET = (3, 32, 32)


def ones(*shape: int) -> Tensor:
    return torch.ones(1, *shape, dtype=torch.float64)


def seeded(seed: int = 1) -> np.random.RandomState:
    return np.random.RandomState(seed)


def counts(keep: dict[str, Tensor]) -> list[int]:
    return [int(mask.sum()) for mask in keep.values()]


def scores(model: nn.Module, inputs: object) -> dict[str, Tensor]:
    return Flow(model, [name for name, weight in model.named_parameters() if weight.dim() >= 2]).scores(inputs)


def two_layers() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    model[0].weight.data = torch.tensor([[1.0, -2.0], [3.0, 0.5]])
    model[2].weight.data = torch.tensor([[-1.0, 2.0]])
    return model


def signed_constants(model: nn.Module) -> nn.Module:
    for weight in model.parameters():
        if weight.dim() >= 2:
            weight.data = weight.data.sign() * (2 / weight[0].numel()) ** 0.5
    return model


def perceptron(widths: list[int]) -> nn.Sequential:
    layers = [layer for sizes in pairwise(widths) for layer in (nn.Linear(*sizes), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(3)


def test_scores_of_two_layers_by_hand():
    # With absolute weights the hidden units are 1 + 2 and 3 + 0.5, and R = 1 x 3 + 2 x 3.5 = 10.
    found = scores(two_layers(), ones(2))
    assert found["0.weight"].tolist() == [[1.0, 2.0], [6.0, 1.0]]
    assert found["2.weight"].tolist() == [[3.0, 7.0]]


def test_biases_norms_and_dropout_do_not_count():
    plain = two_layers()
    model = nn.Sequential(
        plain[0], nn.GroupNorm(1, 2), nn.BatchNorm1d(2), nn.LayerNorm(2), nn.ReLU(), nn.Dropout(0.9), plain[2]
    )
    found = scores(model.train(), ones(2))
    assert found["0.weight"].tolist() == [[1.0, 2.0], [6.0, 1.0]]
    assert found["6.weight"].tolist() == [[3.0, 7.0]]


INPUTS = torch.tensor([[3.0, 5.0], [1.0, -1.0]])
NORMS = [nn.LayerNorm(2), nn.GroupNorm(1, 2), nn.BatchNorm1d(2), nn.RMSNorm(2), nn.LocalResponseNorm(2)]


class ReadsItsNorm(nn.Module):
    """Asks for attributes of its norm, as a transformer does for `norm1.eps`."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(2, 2), norm, nn.Linear(2, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        assert self.norm.extra_repr()
        return self.last(self.norm(self.first(inputs)))


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: type(norm).__name__)
def test_a_norm_hands_on_its_input_and_stays_what_it_is(norm: nn.Module):
    model = ReadsItsNorm(norm)
    model.first.weight.data, model.last.weight.data = (layer.weight.data for layer in list(two_layers())[::2])
    found = scores(model, ones(2))
    assert found["first.weight"].tolist() == [[1.0, 2.0], [6.0, 1.0]]
    inputs = INPUTS.unsqueeze(2) if isinstance(norm, nn.LocalResponseNorm) else INPUTS
    assert norm(inputs).tolist() != inputs.tolist(), "the user's own is left as it is"


def test_a_transformer_of_equal_tokens_has_scores():
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    found = scores(
        nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(4, 3)), ones(5, 4)
    )
    assert all((score >= 0).all() for score in found.values())
    assert found["0.layers.0.linear1.weight"].min() > 0


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.scale = nn.Linear(2, 2), nn.Parameter(torch.tensor([-2.0, 1.0]))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.scale * self.layer(inputs)


def test_a_scale_that_is_no_bias_counts_as_its_size():
    model = Scaled()
    model.layer.weight.data = torch.tensor([[1.0, -1.0], [3.0, 1.0]])
    assert scores(model, ones(2))["layer.weight"].tolist() == [[2.0, 2.0], [3.0, 1.0]]


class WritesIntoItsInput(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.add_(1))


def test_a_network_that_writes_into_its_input_gets_ones_in_each_step():
    model, inputs = WritesIntoItsInput(2, 1, bias=False), ones(2)
    assert scores(model, inputs)["weight"].equal(2 * model.weight.detach().double().abs())
    assert inputs.equal(ones(2))


def test_every_layer_of_a_chain_carries_the_whole_flow():
    model = LeNet(LENET, 10)
    found = scores(model, ones(*LENET))
    positive = copy.deepcopy(model).double()
    for parameter in positive.parameters():
        parameter.data = parameter.data.abs() if parameter.dim() >= 2 else torch.zeros_like(parameter.data)
    flow = positive(ones(*LENET)).sum()
    for score in found.values():
        torch.testing.assert_close(score.sum(), flow.detach())


def test_a_hidden_unit_passes_on_what_it_gets():
    found = scores(perceptron([7, 5, 4, 3]), ones(7))
    incoming, outgoing = [score.sum(1) for score in found.values()], [score.sum(0) for score in found.values()]
    for into, out in zip(incoming[:-1], outgoing[1:], strict=True):
        torch.testing.assert_close(into, out)


def test_synflow_is_the_papers_algorithm():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 6, bias=False),
        nn.ReLU(), nn.Linear(6, 3, bias=False),
    )  # fmt: skip
    keep = prune("synflow", model, torch.ones(1, 1, 6, 6), 0.3, seeded())
    theirs = copy.deepcopy(model).double()
    parameters = list(theirs.parameters())
    total = sum(parameter.numel() for parameter in parameters)
    for parameter in parameters:
        parameter.data.abs_()
    for i in range(1, 101):
        gradients = torch.autograd.grad(theirs(ones(1, 6, 6)).sum(), parameters)
        found = [parameter.detach() * gradient for parameter, gradient in zip(parameters, gradients, strict=True)]
        ranked = torch.cat([score.flatten() for score in found]).sort(descending=True).values
        threshold = ranked[round(total * (round(0.3 * total) / total) ** (i / 100)) - 1]
        for parameter, score in zip(parameters, found, strict=True):
            parameter.data *= score >= threshold
    for mask, parameter in zip(keep.values(), parameters, strict=True):
        assert torch.equal(mask, parameter != 0)


def test_synflow_never_takes_a_weight_back(monkeypatch: pytest.MonkeyPatch):
    seen = []
    monkeypatch.setattr(pruning, "Flow", recording := type("Recording", (Flow,), {}))
    monkeypatch.setattr(recording, "mask", lambda self, keep: (seen.append(keep), Flow.mask(self, keep)))
    model = signed_constants(perceptron([20, 30, 10]))
    keep = prune("synflow", model, ones(20), 0.05, seeded())
    assert len(seen) == 100
    for before, after in pairwise([*seen, keep]):
        assert all((after[name] <= before[name]).all() for name in keep)
    sizes = [sum(counts(masks)) for masks in seen]
    assert sizes == [round(900 * (45 / 900) ** (i / 100)) for i in range(1, 101)]


def test_a_graph_scales_the_flow_and_nothing_else():
    model = GCN(6, 3, hidden_dim=5)
    graph = Graph(ones(9, 6)[0], torch.tensor([[0, 1, 2, 3, 3], [1, 0, 3, 2, 4]]))
    one_node = Graph(ones(6), torch.zeros(2, 0, dtype=torch.int64))
    many, one = scores(model, graph), scores(model, one_node)
    ratio = many["classifier.weight"].sum() / one["classifier.weight"].sum()
    assert ratio > 1
    for name, score in one.items():
        torch.testing.assert_close(many[name], ratio * score)
    keep = prune("synflow", model, one_node, 0.5, seeded())
    assert sum(counts(keep)) == 35


@pytest.mark.parametrize("pruner", pruner_names())
@settings(max_examples=25, deadline=None)
@given(widths=st.lists(st.integers(1, 9), min_size=2, max_size=5), density=st.floats(0.001, 1), tied=st.booleans())
def test_the_number_of_weights_is_exact_and_no_layer_is_empty(
    pruner: str, widths: list[int], density: float, tied: bool
):
    model = perceptron(widths)
    if tied:
        signed_constants(model)
    keep = prune(pruner, model, ones(widths[0]), density, seeded())
    weights = {name: weight for name, weight in model.named_parameters() if weight.dim() >= 2}
    assert {name: mask.shape for name, mask in keep.items()} == {name: weight.shape for name, weight in weights.items()}
    assert all(mask.dtype == torch.bool for mask in keep.values())
    total = sum(weight.numel() for weight in weights.values())
    assert sum(counts(keep)) == max(round(density * total), len(weights))
    assert min(counts(keep)) >= 1


@pytest.mark.parametrize("pruner", pruner_names())
@pytest.mark.parametrize("density", [0.2, 0.01])
@pytest.mark.parametrize("tied", [False, True])
def test_lenet(pruner: str, density: float, tied: bool):
    model = signed_constants(LeNet(LENET, 10)) if tied else LeNet(LENET, 10)
    keep = prune(pruner, model, ones(*LENET), density, seeded())
    assert sum(counts(keep)) == round(density * 61_770)
    assert min(counts(keep)) >= (1 if pruner == "magnitude" else 4)
    assert all(torch.equal(keep[name], mask) for name, mask in prune(
        pruner, model, ones(*LENET), density, seeded()).items())  # fmt: skip
    if tied or pruner in ("erk", "uniform"):
        other = prune(pruner, model, ones(*LENET), density, seeded(2))
        assert not all(torch.equal(keep[name], mask) for name, mask in other.items())


@pytest.mark.parametrize("pruner", pruner_names())
def test_density_one_keeps_everything(pruner: str):
    keep = prune(pruner, signed_constants(LeNet(LENET, 10)), ones(*LENET), 1.0, seeded())
    assert all(mask.all() for mask in keep.values())


@pytest.mark.parametrize("density", [0.0, -0.5, 1.5, float("nan")])
def test_a_density_out_of_bounds(density: float):
    with pytest.raises(ValueError, match=r"^density must be above 0 and at most 1, got"):
        prune("erk", two_layers(), ones(2), density, seeded())


def test_a_weight_outside_the_flow_goes_first():
    model = two_layers()
    model.register_parameter("unused", nn.Parameter(torch.ones(2, 2)))
    assert counts(prune("synflow", model, ones(2), 0.7, seeded())) == [1, 4, 2]


def test_weights_beyond_float64_are_an_error():
    model = nn.Sequential(*[nn.Linear(10, 10) for _ in range(10)])
    for layer in model:
        nn.init.constant_(layer.weight, 1e38)
    with pytest.raises(FloatingPointError, match="overflow"):
        prune("synflow", model, ones(10), 0.5, seeded())


@pytest.mark.parametrize("pruner", pruner_names())
def test_the_model_is_left_as_it_is(pruner: str):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ELU(), nn.Flatten(), nn.Dropout(), nn.Linear(36, 3))
    before, layers = copy.deepcopy(model.state_dict()), list(model)
    state = torch.get_rng_state()
    with torch.no_grad():
        prune(pruner, model, ones(1, 5, 5), 0.3, seeded())
    assert torch.equal(state, torch.get_rng_state())
    after = model.state_dict()
    assert all(after[name].dtype == value.dtype and torch.equal(after[name], value) for name, value in before.items())
    assert list(model) == layers
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def three_layers() -> nn.Sequential:
    """Return kernels of 4 x 2 x 3 x 3, and matrices of 50 x 100 and 2 x 3."""
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Linear(100, 50), nn.Linear(3, 2))


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        # ε = 1: the sums of the dimensions, 4 + 2 + 3 + 3, 50 + 100 and 2 + 3.
        (12 + 150 + 5, [12, 150, 5]),
        # ε = 2: the last layer would keep 10 of 6.
        (24 + 300 + 6, [24, 300, 6]),
        # ε = 10: the first would keep 120 of 72.
        (72 + 1500 + 6, [72, 1500, 6]),
        # ε = 0.1: 1.2, 15 and, not 0.5, 1; the fraction is lost.
        (17, [1, 15, 1]),
    ],
)
def test_erk_by_hand(kept: int, expected: list[int]):
    keep = prune("erk", three_layers(), None, kept / (72 + 5000 + 6), seeded())
    assert counts(keep) == expected


def test_uniform_by_hand():
    assert counts(prune("uniform", three_layers(), None, 0.5, seeded())) == [36, 2500, 3]
    # 0.1 of them: 7.2, 500 and 0.6, so at least 1, and 508 in all.
    assert counts(prune("uniform", three_layers(), None, 0.1, seeded())) == [7, 500, 1]


def test_random_weights_are_spread_over_a_layer():
    model = nn.Sequential(nn.Linear(100, 200))
    mask = prune("uniform", model, None, 0.5, seeded())["0.weight"].double()
    assert (mask.mean(0) - 0.5).abs().max() < 0.2
    assert (mask.mean(1) - 0.5).abs().max() < 0.25


def test_magnitude_by_hand():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 1))
    model[0].weight.data = torch.tensor([[-9.0, 1.0], [8.0, -7.0]])
    model[1].weight.data = torch.tensor([[2.0, -3.0], [0.0, 4.0]])
    model[2].weight.data = torch.tensor([[0.1, -0.2]])
    keep = prune("magnitude", model, None, 0.5, seeded())
    assert [mask.int().tolist() for mask in keep.values()] == [[[1, 0], [1, 1]], [[0, 0], [0, 1]], [[0, 1]]]


def test_ties_fall_evenly():
    model = signed_constants(perceptron([40, 50, 40]))
    mean = sum(prune("magnitude", model, None, 0.2, seeded(seed))["0.weight"].double() for seed in range(100)) / 100
    assert (mean.mean(0) - mean.mean()).abs().max() < 0.05
    assert (mean.mean(1) - mean.mean()).abs().max() < 0.05


SCRIPT = """
import hashlib, numpy as np, torch
from fedsieve.masks.pruning import prune
from torch import nn
torch.manual_seed(1)
model = nn.Sequential(
    nn.Conv2d(3, 32, 3, padding=1), nn.ELU(), nn.Conv2d(32, 32, 3, padding=1), nn.ELU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(2048, 100), nn.ELU(), nn.Linear(100, 10),
)
for weight in model.parameters():
    if weight.dim() >= 2:
        weight.data = weight.data.sign() * (2 / weight[0].numel()) ** 0.5
before = torch.get_num_threads()
keep = prune("synflow", model, torch.ones(1, 3, 16, 16), 0.05, np.random.RandomState(1))
assert torch.get_num_threads() == before
print(before, hashlib.sha256(b"".join(mask.numpy().tobytes() for mask in keep.values())).hexdigest())
"""


def test_the_masks_do_not_depend_on_the_number_of_threads_or_the_machine():
    # MKL's code for machines without vector instructions, which sums in another order: another machine's last bits.
    environments = [{"OMP_NUM_THREADS": "1"}, {"OMP_NUM_THREADS": "2", "MKL_CBWR": "COMPATIBLE"}]
    runs = [
        subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True, env=os.environ | variables)
        for variables in environments
    ]
    found = [run.communicate()[0].split() for run in runs]
    assert [threads for threads, _ in found] == ["1", "2"]
    assert found[0][1] == found[1][1]


class Falling(nn.Module):
    """2 w0 - w1: an output that falls as a weight grows."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.weight * torch.tensor([2.0, -1.0], dtype=x.dtype)).T


def test_a_network_without_synaptic_flow_is_told_so():
    with pytest.raises(FloatingPointError, match="the network has no synaptic flow"):
        prune("synflow", Falling(), torch.ones(1, 2), 0.5, seeded())
