import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck
from torch.func import functional_call
from torch.nn.functional import softshrink

from fedsieve.masks.attach import attach_masks, weights
from fedsieve.masks.personal import PersonalMask, adaptive_steps, apply_threshold, shrink_
from fedsieve.models.gcn import GCN


def masked(model: nn.Module, threshold: float = 0.1) -> tuple[nn.Module, dict[str, nn.Parameter]]:
    masks = attach_masks(model, lambda weight: PersonalMask(weight, threshold))
    return model, {name: mask.mask for name, mask in masks.items()}  # type: ignore[misc]


def test_a_mask_starts_at_one_so_that_it_changes_nothing():
    model, masks = masked(nn.Linear(3, 2))
    assert torch.equal(masks["weight"], torch.ones(2, 3))
    assert torch.equal(model.weight, weights(model)["weight"])


def test_the_threshold_counts_in_eval_mode_alone():
    model, masks = masked(nn.Linear(3, 1, bias=False), threshold=0.5)
    weights(model)["weight"].data = torch.tensor([[2.0, 4.0, 8.0]])
    masks["weight"].data = torch.tensor([[0.25, -0.25, -1.0]])
    model.train()
    assert model.weight.tolist() == [[0.5, -1.0, -8.0]]
    model.eval()
    assert model.weight.tolist() == [[0.0, 0.0, -8.0]]


@pytest.mark.parametrize("threshold", [1e-3, 0.1, 0.5, 1.0])
def test_an_entry_at_the_threshold_is_kept_and_the_next_one_below_is_not(threshold: float):
    at = np.float32(threshold)
    below, above = np.nextafter(at, np.float32(0)), np.nextafter(at, np.float32(9))
    values = torch.tensor([at, below, above, -at, -below, -above])
    kept = torch.tensor([at, 0, above, -at, 0, -above])
    assert torch.equal(apply_threshold(values, threshold), kept)


def test_a_threshold_of_zero_keeps_every_entry():
    values = torch.tensor([0.0, 1e-45, -1e-45, 2.0])
    assert torch.equal(apply_threshold(values, 0.0), values)


def test_shrinking_by_hand():
    mask = torch.tensor([1.0, 0.25, 0.125, -0.25, -1.0, 0.0])
    shrink_(mask, 0.25)
    assert mask.tolist() == [0.75, 0.0, 0.0, 0.0, -0.75, 0.0]


def test_each_entry_may_have_a_step_of_its_own():
    mask = torch.tensor([1.0, 1.0, -1.0, -1.0])
    shrink_(mask, torch.tensor([0.0, 0.5, 0.75, 3.0]))
    assert mask.tolist() == [1.0, 0.5, -0.25, 0.0]


@given(st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=9), st.floats(0, 1))
def test_shrinking_is_the_proximal_operator(values: list[float], step: float):
    mask = torch.tensor(values)
    shrink_(mask, step)
    assert torch.allclose(mask, softshrink(torch.tensor(values), step), atol=1e-6)


def test_steps_are_larger_for_smaller_weights():
    # mean |W| = 2: ratios 2/1, 2/2, 2/4 and 2/1, squared and times 0.5
    weight = torch.tensor([[1.0, -2.0], [4.0, -1.0]])
    assert adaptive_steps(weight, 0.5, 2.0).tolist() == [[2.0, 0.5], [0.125, 2.0]]
    assert adaptive_steps(weight, 0.5, 0.0).tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert weight.tolist() == [[1.0, -2.0], [4.0, -1.0]]


@pytest.mark.parametrize("weight", [[0.0, 1.0], [0.0, 0.0], [1e-40, 1.0], [1e30, 1e-30]])
@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_weights_of_zero_make_no_mask_nan(weight: list[float], power: float):
    mask = torch.ones(2)
    shrink_(mask, adaptive_steps(torch.tensor(weight), 0.005, power))
    assert mask.isfinite().all()
    assert (mask.abs() <= 1).all()


@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_a_masked_linear_layer(training: bool):
    model, _ = masked(nn.Linear(3, 2).double(), threshold=0.0)
    model.train(training)
    x = torch.randn(4, 3, dtype=torch.float64)
    names = [name for name, _ in model.named_parameters()]
    values = [torch.randn_like(parameter).requires_grad_() for parameter in model.parameters()]
    assert len(values) == 3

    def output(*parameters: torch.Tensor) -> torch.Tensor:
        return functional_call(model, dict(zip(names, parameters, strict=True)), (x,))

    assert gradcheck(output, values)


def test_gradients_of_a_masked_gcn(odd_graph):
    model, masks = masked(GCN(8, 3, hidden_dim=4, dropout=0.0).double())
    assert set(masks) == {"conv1.weight", "conv2.weight", "classifier.weight"}
    graph = odd_graph.x.double(), odd_graph.edge_index
    names = [name for name, _ in model.named_parameters()]
    values = [torch.randn_like(parameter).requires_grad_() for parameter in model.parameters()]
    assert len(values) == 6 + 3

    def output(*parameters: torch.Tensor) -> torch.Tensor:
        return functional_call(model.train(), dict(zip(names, parameters, strict=True)), graph)

    assert gradcheck(output, values)


def test_the_gradients_of_weight_and_mask_by_hand():
    # y = (w ⊙ μ)·x: dy/dw = μ ⊙ x and dy/dμ = w ⊙ x
    model, masks = masked(nn.Linear(2, 1, bias=False))
    weights(model)["weight"].data, masks["weight"].data = torch.tensor([[3.0, 5.0]]), torch.tensor([[0.5, -2.0]])
    model.train()(torch.tensor([7.0, 11.0])).backward()
    assert weights(model)["weight"].grad.tolist() == [[3.5, -22]]  # type: ignore[union-attr]
    assert masks["weight"].grad.tolist() == [[21, 55]]  # type: ignore[union-attr]
