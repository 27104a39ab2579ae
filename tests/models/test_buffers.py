import pytest
import torch
from torch import nn

from fedsieve.models.buffers import Buffers, note_changing


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("constant", torch.tensor([-torch.inf, torch.nan]))
        self.register_buffer("steps", torch.tensor(0), persistent=False)
        self.register_buffer("none", None)


def test_a_network_gets_the_values_given_and_the_initial_ones_elsewhere():
    model = Net()
    buffers = Buffers(model)
    assert set(buffers.initial) == {
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
        "constant",
        "steps",
    }
    model.norm(torch.randn(4, 2))
    model.steps = model.steps + 1  # another tensor in its place
    changed = buffers.changed()
    assert set(changed) == set(buffers.initial) - {"constant"}
    buffers.load({})
    assert model.norm.running_mean.tolist() == [0, 0]
    assert model.steps.item() == 0
    buffers.load(changed)
    assert model.norm.running_mean.tolist() == changed["norm.running_mean"].tolist() != [0, 0]
    assert (model.steps.item(), model.norm.num_batches_tracked.item()) == (1, 1)
    model.norm(torch.randn(4, 2))
    assert changed["norm.num_batches_tracked"].item() == 1, "what was taken is a copy"


def test_norms_and_what_is_noted_are_known_to_change():
    model = Net()
    note_changing(model, {"steps"})
    assert Buffers(model).changing == ["steps", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]
    assert set(Buffers(model).changed()) == set(Buffers(model).changing)


def test_a_block_leaves_buffers_as_they_are():
    model = Net()
    buffers = Buffers(model)
    buffers.load({"steps": torch.tensor(5)})
    with buffers.put_back():
        model.steps += 1
    assert model.steps.item() == 5


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda net: setattr(net, "none", torch.zeros(1)), "its buffer none appears when the network runs"),
        (lambda net: setattr(net, "steps", None), "its buffer steps goes when the network runs"),
        (lambda net: net.register_buffer("late", torch.zeros(1)), "its buffer late appears when the network runs"),
        (
            lambda net: setattr(net, "steps", torch.zeros(2)),
            r"its buffer steps changes from torch.int64 \(\) to torch.f",
        ),
    ],
)
def test_other_buffers_than_before_are_one_clause_and_go_again(change, fault: str):
    model = Net()
    buffers = Buffers(model)
    change(model)
    with pytest.raises(ValueError, match=f"^{fault}"):
        buffers.changed()
    buffers.load({})
    assert {name: tensor.dtype for name, tensor in buffers.changed().items()}["norm.running_mean"] == torch.float32
    assert dict(model.named_buffers()).keys() == buffers.initial.keys()
