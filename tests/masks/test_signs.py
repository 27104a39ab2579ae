import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from fedsieve.masks.attach import weights
from fedsieve.masks.signs import SIGN, SignMask, apply_signs
from fedsieve.masks.survivors import Survivors

W = torch.tensor([[1.0, -2.0, 3.0], [-4.0, 5.0, -6.0]])
KEEP = torch.tensor([[True, True, False], [True, False, True]])


def made(weight: Tensor, keep: Tensor, latent: Tensor) -> tuple[nn.Parameter, SignMask]:
    """Return the one layer of a network, and its mask."""
    layer = nn.Parameter(weight.clone())
    mask = SignMask({"w": layer})
    mask.keep_({"w": weight}, {"w": keep})
    mask.load_(latent)
    return layer, mask


def stepped(mask: SignMask, lr: float) -> None:
    """Take a step of plain gradient descent."""
    optimizer = torch.optim.SGD([mask.latent], lr=lr)
    mask.follow(optimizer)
    optimizer.step()


def test_kept_weights_get_their_latents_sign_and_the_others_are_0():
    # survivors are 1, -2, -4, -6; the sign of 0 is +1, of a negative weight too
    assert made(W, KEEP, torch.tensor([-0.5, 0.0, -3.0, 2.0]))[0].tolist() == [[-1, -2, 0], [4, 0, -6]]
    assert made(W, KEEP, torch.zeros(4))[0].tolist() == [[1, -2, 0], [-4, 0, -6]]


def test_everything_is_kept_with_the_sign_plus_at_first():
    layer = nn.Parameter(W.clone())
    assert SignMask({"w": layer}).latent.tolist() == [0] * 6
    assert torch.equal(layer, W)


def test_a_step_takes_the_weight_times_the_weights_gradient_from_a_latent():
    layer, mask = made(W, KEEP, torch.tensor([-0.5, 0.0, -3.0, 2.0]))
    layer.backward(torch.tensor([[10.0, 20.0, 30.0], [40.0, 50.0, 60.0]]))
    stepped(mask, lr=0.01)
    # w · g at the survivors, whatever their present signs, is 10, -40, -160, -360
    torch.testing.assert_close(mask.latent.detach(), torch.tensor([-0.5 - 0.1, 0.4, -3 + 1.6, 2 + 3.6]))
    assert layer.tolist() == [[-1, -2, 0], [4, 0, -6]]
    layer.backward(torch.tensor([[-100.0, -10.0, 7.0], [50.0, 7.0, 0.0]]))
    stepped(mask, lr=0.01)
    # w · g is now -100, 20, -200, 0: of the last step's gradient nothing is left
    torch.testing.assert_close(mask.latent.detach(), torch.tensor([-0.6 + 1, 0.4 - 0.2, -1.4 + 2, 5.6]))
    assert layer.tolist() == [[1, -2, 0], [-4, 0, -6]]


def test_keeping_again_starts_from_latents_at_0_and_leaves_nothing_of_the_last_mask():
    layer, mask = made(W, KEEP, torch.tensor([-0.5, 0.0, -3.0, 2.0]))
    mask.keep_({"w": W}, {"w": ~KEEP})
    assert mask.latent.tolist() == [0, 0]
    assert layer.tolist() == [[0, 0, 3], [0, 5, 0]]
    layer.backward(torch.ones_like(W))
    stepped(mask, lr=1.0)
    assert mask.latent.tolist() == [-3, -5]
    assert layer.tolist() == [[0, 0, -3], [0, -5, 0]]


def test_loaded_latents_are_trained_in_place_and_take_no_gradient_of_the_last_ones():
    layer, mask = made(W, KEEP, torch.zeros(4))
    layer.backward(torch.ones_like(W))
    start = torch.tensor([0.5, -0.5, 0.5, -0.5])
    mask.load_(start)
    assert layer.tolist() == [[1, 2, 0], [-4, 0, 6]]
    layer.backward(torch.ones_like(W))
    stepped(mask, lr=1.0)
    assert start.tolist() == [0.5 - 1, -0.5 + 2, 0.5 + 4, -0.5 + 6]


def test_a_layer_used_twice_has_the_gradients_of_both_uses():
    layer, mask = made(torch.tensor([[2.0, -3.0]]), torch.tensor([[True, True]]), torch.tensor([-1.0, 1.0]))
    x = torch.tensor([[5.0, 7.0]])
    (3 * (x @ layer.T) + (x @ layer.T) ** 2).sum().backward()
    stepped(mask, lr=1.0)
    # weights -2 and -3 give x·w = -31, of which the derivative is 3 - 62
    assert mask.latent.tolist() == [-1 - 2 * 5 * -59, 1 + 3 * 7 * -59]


def test_a_layer_that_was_not_used_keeps_its_latents():
    used, unused = nn.Parameter(torch.tensor([[2.0]])), nn.Parameter(torch.tensor([[3.0]]))
    mask = SignMask({"unused": unused, "used": used})
    used.backward(torch.tensor([[1.0]]))
    stepped(mask, lr=1.0)
    assert mask.latent.tolist() == [0, -2]


def test_latents_loaded_between_a_forward_and_its_backward_are_an_error():
    layer, mask = made(W, KEEP, torch.zeros(4))
    loss = (nn.functional.elu(torch.ones(1, 3, requires_grad=True) @ layer.T) @ layer).sum()
    mask.load_(-torch.ones(4))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_survivors_count_row_by_row_however_the_layer_lies_in_memory():
    weight, keep = torch.arange(1.0, 17.0).view(1, 4, 2, 2), torch.arange(16).view(1, 4, 2, 2) % 3 == 0
    for memory_format in (torch.contiguous_format, torch.channels_last):
        layer, mask = made(weight.to(memory_format=memory_format), keep, torch.tensor([1.0, -1, 1, -1, 1, -1]))
        assert layer.flatten().tolist() == [1, 0, 0, -4, 0, 0, 7, 0, 0, -10, 0, 0, 13, 0, 0, -16]
        layer.backward(torch.ones_like(weight).to(memory_format=memory_format))
        stepped(mask, lr=1.0)
        assert mask.latent.tolist() == [0, -5, -6, -11, -12, -17]


def test_only_matrices_are_masked_and_a_copy_of_the_network_keeps_its_weights():
    network = nn.Linear(3, 2).requires_grad_(False)
    with torch.no_grad():
        network.weight.copy_(W)
    bias = network.bias.tolist()
    mask = SignMask(weights(network))
    assert list(mask.layers) == ["weight"]
    mask.keep_({"weight": W}, {"weight": KEEP})
    assert network.bias.tolist() == bias
    assert not network.bias.requires_grad
    before = copy.deepcopy(network)
    mask.load_(-torch.ones(4))
    assert before.weight.tolist() == [[1, -2, 0], [-4, 0, -6]]
    assert network.weight.tolist() == [[-1, 2, 0], [4, 0, 6]]


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
    layer, mask = made(weight, keep, latent[keep].clone())
    assert torch.equal(layer, torch.where(keep, torch.where(latent >= 0, weight, -weight), 0.0))
    # `masked` folds the same signs
    folded = apply_signs({"w": weight}, Survivors({"w": keep}), SIGN.values(latent[keep]))
    assert torch.equal(folded["w"], layer.detach())
    outer = torch.arange(1.0, weight.numel() + 1).view(weight.shape)
    layer.backward(outer)
    stepped(mask, lr=1.0)
    trained = latent[keep] - (weight * outer)[keep]
    assert torch.equal(mask.latent, trained)
    assert torch.equal(layer[keep], torch.where(trained >= 0, weight[keep], -weight[keep]))
    assert not layer[~keep].any()


def test_masked_weights_of_several_layers_by_hand():
    survivors = Survivors({"a": torch.tensor([[True, False]]), "b": torch.tensor([[True], [True]])})
    frozen = {"a": torch.tensor([[2.0, 3.0]]), "b": torch.tensor([[-5.0], [7.0]]), "bias": torch.tensor([1.0])}
    folded = apply_signs(frozen, survivors, torch.tensor([-1.0, -1.0, 1.0]))
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
    frozen = {parameter: tensor.detach() for parameter, tensor in plain.named_parameters()}
    mask = SignMask(weights(masked))
    mask.keep_(frozen, keep)
    ours = optimizer_of(name, [mask.latent])
    mask.follow(ours)

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

        trained = Survivors(keep).by_layer(mask.latent.detach())
        for layer, latent in latents.items():
            torch.testing.assert_close(trained[layer], latent.detach()[keep[layer]], rtol=1e-4, atol=1e-6)
        flipped += int((mask.latent < 0).sum())
    assert flipped > 0
