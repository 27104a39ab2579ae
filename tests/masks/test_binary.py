from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedsieve.masks.attach import attach_masks, weights
from fedsieve.masks.binary import (
    BernoulliMask,
    FixedMask,
    flatten,
    levels,
    maskable,
    pack,
    unflatten,
    unpack,
)
from fedsieve.masks.families import Binary
from fedsieve.masks.family import FamilyMask


def masked(kind: Callable[[Tensor], nn.Module], w: list[float]) -> tuple[nn.Linear, nn.Module]:
    model = nn.Linear(len(w), 1, bias=False)
    model.weight.data = torch.tensor([w])
    return model, attach_masks(model, kind)["weight"]


def thresholded(weight: Tensor) -> FamilyMask:
    return FamilyMask(weight, Binary())


def test_a_threshold_of_zero_keeps_zero_and_the_gradient_goes_straight_through():
    model, mask = masked(thresholded, [3.0, -2.0, 5.0])
    weights(model)["weight"].requires_grad_(False)
    assert isinstance(mask, FamilyMask)
    mask.latent.data = torch.tensor([[0.0, -0.1, 7.0]])
    assert model.weight.tolist() == [[3, 0, 5]]
    model(torch.tensor([1.0, 10.0, 100.0])).backward()
    # the output's gradient is x, so that of m is w·x, for a pruned weight too
    assert mask.latent.grad is not None
    assert mask.latent.grad.tolist() == [[3, -20, 500]]
    assert weights(model)["weight"].grad is None


def test_a_drawn_mask_passes_the_gradient_through_draw_and_sigmoid():
    model, mask = masked(BernoulliMask, [3.0, -2.0])
    assert isinstance(mask, BernoulliMask)
    mask.scores.data = torch.tensor([0.75, 0.25]).logit()[None]
    model(torch.tensor([1.0, 10.0])).backward()
    # w·x·θ·(1 - θ), whatever was drawn
    assert mask.scores.grad is not None
    assert mask.scores.grad.flatten().tolist() == pytest.approx([3 * 3 / 16, -20 * 3 / 16])


def test_training_draws_again_and_eval_mode_keeps_the_last_draw():
    torch.manual_seed(0)
    model, mask = masked(BernoulliMask, [1.0] * 4000)
    assert isinstance(mask, BernoulliMask)
    mask.scores.data = torch.full((1, 4000), 0.25).logit()
    model.train()
    first, second = model.weight, model.weight
    assert not torch.equal(first, second)
    assert 0.22 < first.mean() < 0.28
    model.eval()
    assert torch.equal(model.weight, torch.ones(1, 4000))
    mask.draw()
    assert 0.22 < model.weight.mean() < 0.28
    assert torch.equal(model.weight, mask.bits.float())
    assert torch.equal(model.weight, model.weight)


def test_a_certain_score_is_always_drawn():
    model, mask = masked(BernoulliMask, [2.0, 3.0])
    assert isinstance(mask, BernoulliMask)
    mask.scores.data = torch.tensor([[200.0, -200.0]])
    assert all(model.weight.tolist() == [[2, 0]] for _ in range(20))


def test_a_weight_outside_a_fixed_mask_has_no_gradient():
    model, mask = masked(FixedMask, [3.0, 4.0])
    assert isinstance(mask, FixedMask)
    mask.bits = torch.tensor([[False, True]])
    model(torch.tensor([5.0, 6.0])).backward()
    assert model.weight.tolist() == [[0, 4]]
    assert weights(model)["weight"].grad.tolist() == [[0, 6]]  # type: ignore[union-attr]


def test_layers_and_one_vector_and_bits():
    layers = {"a": torch.tensor([[1, 2], [3, 4]]), "b": torch.tensor([[[5]]])}
    vector = flatten(layers)
    assert vector.tolist() == [1, 2, 3, 4, 5]
    assert all(torch.equal(layer, layers[name]) for name, layer in unflatten(vector, layers).items())
    bits = vector % 2 == 1
    assert pack(bits).tolist() == [0b10101000]
    assert torch.equal(unpack(pack(bits), 5), bits)
    assert list(maskable(layers | {"c": torch.ones(3)})) == ["a", "b"]


def test_levels_by_hand():
    mean = np.array([0, 0.25, 0.5, 0.75, 1], dtype=np.float32)
    assert levels(mean).tolist() == [-127, -64, 0, 64, 127]  # 63.5 is rounded to even
    assert levels(mean).dtype == np.int8
