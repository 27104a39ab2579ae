import pytest
import torch
from torch import Tensor, nn

from fedsieve.client.training import (
    add_prefix,
    fit,
    load,
    make_optimizer,
    metrics,
    optimizer_state,
    squared_distance,
    take_prefix,
)
from tests.client.toy import Toy, arrays, linear
from tests.helpers import config

OPTIMISERS = [
    pytest.param({"optimizer": "adam", "weight-decay": 0.1}, id="adam"),
    pytest.param({"optimizer": "sgd", "momentum": 0.9, "weight-decay": 0.1}, id="momentum"),
    pytest.param({"optimizer": "sgd"}, id="sgd"),
]


class Curved(Toy):
    """A loss whose gradient depends on the weights, so that each step matters to the next."""

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        return (model(batch) - 3).pow(2).sum()


def trained(keys: dict[str, object], *epochs: int) -> dict[str, Tensor]:
    """Train in stretches; between them only weights and state are kept."""
    run, kept, state = config(keys | {"lr": 0.05}), arrays([1.0, -1.0], 0.5), {}
    for stretch in epochs:
        model = nn.Linear(2, 1)
        parameters = dict(model.named_parameters())
        load(parameters, kept)
        optimizer = make_optimizer(run, parameters, state)
        fit(model, optimizer, Curved(), stretch)
        state = {name: tensor.clone() for name, tensor in optimizer_state(optimizer, parameters).items()}
        kept = {name: parameter.data.clone() for name, parameter in parameters.items()}
    return kept


@pytest.mark.parametrize("keys", OPTIMISERS)
def test_ten_steps_are_five_and_five_with_the_state_carried_over(keys: dict[str, object]):
    whole, halves = trained(keys, 10), trained(keys, 5, 5)
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    assert not torch.equal(trained(keys, 5)["weight"], whole["weight"])


@pytest.mark.parametrize("keys", OPTIMISERS)
def test_the_optimiser_is_torchs(keys: dict[str, object]):
    ours, model = trained(keys, 4), linear([1.0, -1.0], 0.5)
    if keys["optimizer"] == "adam":
        theirs: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), lr=0.05, weight_decay=0.1)
    else:
        theirs = torch.optim.SGD(
            model.parameters(),
            lr=0.05,
            momentum=float(keys.get("momentum", 0)),
            weight_decay=keys.get("weight-decay", 1e-6),
        )
    for _ in range(4):
        theirs.zero_grad()
        Curved().loss(model.train(), torch.tensor([1.0, 2.0])).backward()
        theirs.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(ours[name], parameter.data)


def test_without_examples_nothing_is_trained():
    model, run = linear([1.0, 1.0], 0.0), config(optimizer="sgd", lr=0.5)
    optimizer = make_optimizer(run, dict(model.named_parameters()), {})
    assert fit(model.eval(), optimizer, Toy(num_examples=0), 3) == 0.0
    assert model.weight.tolist() == [[1, 1]]
    assert not model.training


def test_the_loss_is_the_mean_over_all_steps_without_the_penalty():
    # sgd, lr 0.1: each step takes 0.1·(1 + 4 + 1) = 0.6 off the loss W·(1, 2) + b, from 3
    model, run = linear([1.0, 1.0], 0.0), config({"optimizer": "sgd", "lr": 0.1, "weight-decay": 0.0})
    optimizer = make_optimizer(run, dict(model.named_parameters()), {})
    steps = []
    loss = fit(
        model, optimizer, Toy(batches=2), 2, lambda: torch.tensor(100.0), lambda: steps.append(torch.is_grad_enabled())
    )
    assert loss == pytest.approx((3 + 2.4 + 1.8 + 1.2) / 4)
    assert steps == [False] * 4
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_squared_distance_by_hand():
    model = linear([1.0, 2.0], 3.0)
    assert squared_distance(dict(model.named_parameters()), arrays([0.0, 4.0], 2.0)).item() == 1 + 4 + 1


def test_filing_is_undone():
    tensors = arrays([1.0, 2.0], 3.0)
    state = add_prefix("weights", tensors) | add_prefix("weights-of-another", {"x": torch.ones(1)})
    assert take_prefix("weights", state) == tensors


def test_metrics_tell_the_model_received_from_the_trained_one():
    task, model = Toy(num_examples=7), linear([0.0, 0.0], 0.0).eval()
    received, local = task.evaluate(model), task.evaluate(model)
    assert metrics(task, received, local, 0.25) == {
        "num-examples": 7,
        "train-loss": 0.25,
        "val-count": 5,
        "test-count": 6,
        "received-val-accuracy": 0.1,
        "received-test-accuracy": 0.05,
        "val-accuracy": 0.2,
        "test-accuracy": 0.1,
        "test-macro-f1": 0.5,
    }
