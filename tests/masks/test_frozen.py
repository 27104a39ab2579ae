from math import sqrt

import pytest
import torch
from torch import Tensor, nn

from fedsieve.masks.frozen import freeze_
from fedsieve.masks.names import Init
from fedsieve.models.gcn import GCN, GraphConvolution
from tests.helpers import config

INITS: list[Init] = ["kaiming-normal", "signed-constant"]

LAYERS = [
    (lambda: nn.Linear(300, 200), 300),
    (lambda: nn.Conv2d(16, 40, 5), 16 * 25),
    (lambda: nn.Conv2d(16, 40, 5, groups=4), 4 * 25),
    # stored in x out, as transposed convolutions are
    (lambda: GraphConvolution(300, 50), 300),
    (lambda: nn.ConvTranspose2d(16, 40, 5), 16 * 25),
]
"""Layers and the fan_in of each; dimensions differ, so that another fan_in shows."""


def drawn(init: Init, seed: int) -> list[Tensor]:
    model = GCN(6, 3, hidden_dim=5)
    freeze_(model, init, seed)
    return list(model.parameters())


def same(one: list[Tensor], other: list[Tensor]) -> list[bool]:
    return [torch.equal(a, b) for a, b in zip(one, other, strict=True) if a.dim() > 1]


@pytest.mark.parametrize("init", INITS)
def test_a_seed_is_all_that_the_weights_depend_on(init: Init):
    torch.manual_seed(1)
    first = drawn(init, 42)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert all(same(drawn(init, 42), first))
    assert not any(same(drawn(init, 43), first))
    network = GCN(6, 3, hidden_dim=5)
    before = torch.get_rng_state()
    freeze_(network, init, 42)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("make", "fan_in"), LAYERS)
def test_the_deviation_is_the_root_of_2_over_fan_in(make: type[nn.Module], fan_in: int):
    layer = make()
    freeze_(layer, "kaiming-normal", 1)
    weight = layer.get_parameter("weight")
    # 15,000 weights or more: the standard error of a deviation is 1 / sqrt(2 n), 0.6 %, and of the mean 0.8 %
    assert weight.std().item() == pytest.approx(sqrt(2 / fan_in), rel=0.03)
    assert abs(weight.mean().item()) < 0.04 * sqrt(2 / fan_in)
    assert weight.abs().max().item() > 3 * sqrt(2 / fan_in)


@pytest.mark.parametrize(("make", "fan_in"), LAYERS)
def test_signed_constants_are_plus_or_minus_the_deviation(make: type[nn.Module], fan_in: int):
    layer = make()
    freeze_(layer, "signed-constant", 1)
    weight = layer.get_parameter("weight")
    sigma = torch.tensor(sqrt(2 / fan_in), dtype=torch.float64).float()
    assert torch.equal(weight.abs(), torch.full_like(weight, sigma.item()))
    assert 0.45 < (weight > 0).float().mean().item() < 0.55


def test_signed_constants_have_the_signs_of_the_normal_draw():
    normal, constant = drawn("kaiming-normal", 7), drawn("signed-constant", 7)
    assert all(torch.equal(a.sign(), b.sign()) for a, b in zip(normal, constant, strict=True))


@pytest.mark.parametrize("init", INITS)
def test_biases_are_0_and_scales_1_and_nothing_is_trained(init: Init):
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.LayerNorm(5), nn.Flatten(), nn.Linear(8, 3))
    model.requires_grad_(True)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data.add_(0.25)
    model[1].weight.data.fill_(1.0)
    model[2].weight.data.fill_(1.0)
    freeze_(model, init, 3)
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == set()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif parameter.dim() == 1:
            assert parameter.eq(1).all(), name
        else:
            assert parameter.all(), name


def test_the_weights_are_frozen():
    # kept values: other ones here would change every figure that was ever published, and part old nodes from new ones
    layer = nn.Linear(3, 2)
    freeze_(layer, "kaiming-normal", 42)
    expected = [[0.71873862, -0.52162343, -0.12794743], [-0.29220232, -1.68194783, -1.07613945]]
    torch.testing.assert_close(layer.weight.data, torch.tensor(expected), rtol=1e-6, atol=0)
    freeze_(layer, "signed-constant", 42)
    s = 0.81649661  # sqrt(2 / 3)
    torch.testing.assert_close(layer.weight.data, torch.tensor([[s, -s, -s], [-s, -s, -s]]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("init", INITS)
def test_a_gain_makes_every_weight_so_many_times_as_large(init: Init):
    plain, larger = nn.Linear(6, 4), nn.Linear(6, 4)
    freeze_(plain, init, 42)
    freeze_(larger, init, 42, gain=4.0)
    assert torch.equal(larger.weight, 4 * plain.weight)


@pytest.mark.parametrize("algorithm", ["hide-n-seek", "fed-mask", "fed-pm"])
@pytest.mark.parametrize(("dataset", "gain"), [("cora", 4.0), ("digits", 1.0)])
def test_the_gain_left_open_is_that_of_the_kind_of_data(algorithm: str, dataset: str, gain: float):
    assert config(dataset=dataset, algorithm=algorithm).settings.model_dump()["frozen_gain"] == gain
