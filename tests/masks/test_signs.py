import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from fedsieve.masks.attach import attach_masks
from fedsieve.masks.signs import SignMask, signed
from fedsieve.masks.survivors import Survivors

W = torch.tensor([[1.0, -2.0, 3.0], [-4.0, 5.0, -6.0]])
KEEP = torch.tensor([[True, True, False], [True, False, True]])


def made(weight: Tensor, keep: Tensor, latent: list[float]) -> SignMask:
    mask = SignMask(weight)
    mask.keep_(weight, keep)
    mask.latent.data = torch.tensor(latent)
    return mask


def test_kept_weights_get_their_latents_sign_and_the_others_are_0():
    # survivors are 1, -2, -4, -6; the sign of 0 is +1, of a negative weight too
    masked = made(W, KEEP, [-0.5, 0.0, -3.0, 2.0])(W)
    assert masked.tolist() == [[-1, -2, 0], [4, 0, -6]]
    assert made(W, KEEP, [0.0, 0.0, 0.0, 0.0])(W).tolist() == [[1, -2, 0], [-4, 0, -6]]


def test_everything_is_kept_with_the_sign_plus_at_first():
    mask = SignMask(W)
    assert torch.equal(mask(W), W)
    assert mask.latent.tolist() == [0] * 6


def test_the_gradient_of_a_latent_is_the_weight_times_the_outputs():
    mask = made(W, KEEP, [-0.5, 0.0, -3.0, 2.0])
    mask(W).backward(torch.tensor([[10.0, 20.0, 30.0], [40.0, 50.0, 60.0]]))
    # w · g at the survivors, whatever their present signs
    assert mask.latent.grad is not None
    assert mask.latent.grad.tolist() == [1 * 10, -2 * 20, -4 * 40, -6 * 60]


def test_keeping_anew_starts_from_latents_at_0():
    mask = made(W, KEEP, [-0.5, 0.0, -3.0, 2.0])
    mask.keep_(W, ~KEEP)
    assert mask.latent.tolist() == [0, 0]
    assert mask(W).tolist() == [[0, 0, 3], [0, 5, 0]]


def test_only_the_latents_are_parameters_of_the_mask_and_none_of_it_is_saved_but_them():
    mask = made(W, KEEP, [1.0, 1.0, 1.0, 1.0])
    assert [name for name, _ in mask.named_parameters()] == ["latent"]
    assert list(mask.state_dict()) == ["latent"]


@st.composite
def layers(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Draw a layer's weights, its keep-mask and latents of the layer's shape."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=2, max_size=4)))
    n = int(torch.tensor(shape).prod())
    numbers = st.floats(-1e3, 1e3, width=32).map(lambda value: value + 0.0)  # without -0
    weight = draw(st.lists(numbers.filter(bool), min_size=n, max_size=n))
    latent = draw(st.lists(st.one_of(st.just(0.0), st.sampled_from([1e-30, -1e-30]), numbers), min_size=n, max_size=n))
    keep = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return torch.tensor(weight).view(shape), torch.tensor(keep).view(shape), torch.tensor(latent).view(shape)


@given(layers())
def test_it_is_torch_where_and_its_gradient(layer: tuple[Tensor, Tensor, Tensor]):
    weight, keep, latent = layer
    mask = SignMask(weight)
    mask.keep_(weight, keep)
    mask.latent.data = latent[keep].clone()
    masked = mask(weight)
    assert torch.equal(masked, torch.where(keep, torch.where(latent >= 0, weight, -weight), 0.0))
    outer = torch.arange(1.0, weight.numel() + 1).view(weight.shape)
    masked.backward(outer)
    assert mask.latent.grad is not None
    assert torch.equal(mask.latent.grad, (weight * outer)[keep])
    # and `signed` folds the same signs
    folded = signed({"w": weight}, Survivors({"w": keep}), mask.latent.detach() >= 0)
    assert torch.equal(folded["w"], masked.detach())


def test_signed_weights_of_several_layers_by_hand():
    survivors = Survivors({"a": torch.tensor([[True, False]]), "b": torch.tensor([[True], [True]])})
    frozen = {"a": torch.tensor([[2.0, 3.0]]), "b": torch.tensor([[-5.0], [7.0]]), "bias": torch.tensor([1.0])}
    folded = signed(frozen, survivors, torch.tensor([False, False, True]))
    assert {name: tensor.tolist() for name, tensor in folded.items()} == {"a": [[-2, 0]], "b": [[5], [7]]}
    assert frozen["a"].tolist() == [[2, 3]]


def optimizer_of(name: str, parameters: list[Tensor]) -> torch.optim.Optimizer:
    if name == "adam":
        return torch.optim.Adam(parameters, lr=0.05, weight_decay=1e-3)
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-3)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_training_is_that_of_a_dense_straight_through_estimator(name: str):
    plain = nn.Sequential(nn.Linear(4, 8), nn.ELU(), nn.Linear(8, 3))
    inputs, labels = torch.randn(16, 4), torch.arange(16) % 3
    keep = {"0.weight": torch.rand(8, 4) < 0.6, "2.weight": torch.rand(3, 8) < 0.6}
    masked = copy.deepcopy(plain).requires_grad_(False)
    masks = attach_masks(masked, SignMask)
    for layer, mask in masks.items():
        assert isinstance(mask, SignMask)
        mask.keep_(plain.get_parameter(layer), keep[layer])
        mask.latent.requires_grad_(True)
    ours = optimizer_of(name, [mask.latent for mask in masks.values()])  # type: ignore[misc]

    frozen = {parameter: tensor.detach() for parameter, tensor in plain.named_parameters()}
    latents = {layer: torch.zeros_like(frozen[layer], requires_grad=True) for layer in keep}
    theirs = optimizer_of(name, list(latents.values()))
    flipped = 0
    for _ in range(25):
        ours.zero_grad()
        nn.functional.cross_entropy(masked(inputs), labels).backward()
        ours.step()

        dense = dict(frozen)
        for layer, latent in latents.items():
            weight = torch.where(keep[layer], frozen[layer], 0.0)
            through = weight * latent
            # in value w ⊙ sign(m), as through - through is exactly 0; in gradient w ⊙ m
            dense[layer] = torch.where(latent >= 0, weight, -weight).detach() + (through - through.detach())
        theirs.zero_grad()
        nn.functional.cross_entropy(functional_call(plain, dense, inputs), labels).backward()
        theirs.step()

        for layer, latent in latents.items():
            trained = masks[layer].get_parameter("latent")
            torch.testing.assert_close(trained.detach(), latent.detach()[keep[layer]], rtol=1e-4, atol=1e-6)
            flipped += int((trained < 0).sum())
    assert flipped > 0
