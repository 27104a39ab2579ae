"""FedAvg, FedProx and local-only: one SGD step by hand, lr 0.5, gradient (1, 2) for W and 1 for b."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedsieve.algorithms import load_algorithm
from fedsieve.contract import Trainer, TrainResult
from fedsieve.server.screening import REQUIRED
from tests.client.toy import Toy, arrays, linear
from tests.helpers import config


def trainer(algorithm: str, model: Any = None, **keys: object) -> Trainer:
    plain = {"algorithm": algorithm, "optimizer": "sgd", "lr": 0.5, "weight-decay": 0.0}
    run = config(plain | {name.replace("_", "-"): value for name, value in keys.items()})
    return load_algorithm(algorithm).load_trainer()(run, run.settings, (model or linear([9.0, 9.0], 9.0)).eval())


def numbers(tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {name: tensor.tolist() for name, tensor in tensors.items()}


@pytest.mark.parametrize("algorithm", ["fed-avg", "fed-prox"])
def test_the_first_step_starts_from_what_was_received(algorithm: str):
    result = trainer(algorithm).train(Toy(), arrays([1.0, 2.0], 3.0), {})
    assert numbers(result.arrays) == {"weight": [[0.5, 1.0]], "bias": [2.5]}


def test_fed_prox_is_pulled_back_to_what_it_received():
    # step 2 adds μ·(w - w_t) = 0.2·(-0.5, -1) and 0.2·(-0.5): gradients (0.9, 1.8) and 0.9
    keys = {"local_epochs": 2, "fed-prox.mu": 0.2}
    result = trainer("fed-prox", **keys).train(Toy(), arrays([1.0, 2.0], 3.0), {})
    assert result.arrays["weight"].flatten().tolist() == pytest.approx([0.5 - 0.45, 1 - 0.9])
    assert result.arrays["bias"].tolist() == pytest.approx([2.5 - 0.45])
    # the loss told is the task's: first 1 + 4 + 3, then 0.5 + 2 + 2.5
    assert result.metrics["train-loss"] == pytest.approx((8 + 5) / 2)


def test_fed_prox_without_its_term_is_fed_avg():
    kept = [
        numbers(trainer(name, local_epochs=3, **extra).train(Toy(), arrays([1.0, 2.0], 3.0), {}).arrays)
        for name, extra in (("fed-avg", {}), ("fed-prox", {"fed-prox.mu": 0.0}))
    ]
    assert kept[0] == kept[1]


@pytest.mark.parametrize("algorithm", ["fed-avg", "fed-prox", "local"])
def test_momentum_is_kept_from_round_to_round_in_the_state_alone(algorithm: str):
    ours = trainer(algorithm, linear([0.0, 0.0], 0.0), momentum=0.5)
    first = ours.train(Toy(), arrays([0.0, 0.0], 0.0), {})
    kept = {name: tensor.clone() for name, tensor in first.state.items()}
    # the second step's velocity is 0.5·(1, 2) + (1, 2)
    ours.train(Toy(), arrays([5.0, 5.0], 5.0), {})  # another client in between
    second = ours.train(Toy(), arrays([0.0, 0.0], 0.0), kept)
    start = torch.tensor([[-0.5, -1.0]]) if algorithm == "local" else torch.zeros(1, 2)
    expected = start - 0.5 * torch.tensor([[1.5, 3.0]])
    assert torch.equal(ours.personal_model(second.state)["weight"], expected)


def test_local_sends_nothing_and_goes_on_from_its_own_weights():
    ours = trainer("local", linear([1.0, 2.0], 3.0))
    first = ours.train(Toy(), {}, {})
    assert first.arrays == {}
    assert numbers(ours.personal_model(first.state)) == {"weight": [[0.5, 1.0]], "bias": [2.5]}
    kept = {name: tensor.clone() for name, tensor in first.state.items()}
    other = ours.train(Toy(), {}, {})
    assert numbers(ours.personal_model(other.state)) == {"weight": [[0.5, 1.0]], "bias": [2.5]}
    second = ours.train(Toy(), {}, kept)
    assert numbers(ours.personal_model(second.state)) == {"weight": [[0.0, 0.0]], "bias": [2.0]}


@pytest.mark.parametrize("algorithm", ["fed-avg", "fed-prox", "fed-pub", "local"])
def test_the_model_is_evaluated_as_received_and_after_training(algorithm: str):
    task = Toy()
    received = {} if algorithm == "local" else arrays([1.0, 2.0], 3.0)
    result: TrainResult = trainer(algorithm, linear([1.0, 2.0], 3.0)).train(task, received, {})
    as_received, local = task.seen
    assert as_received.tolist() == [[1, 2]]
    assert local.tolist() != [[1, 2]]
    assert (result.metrics["received-val-accuracy"], result.metrics["val-accuracy"]) == (0.1, 0.2)
    assert set(result.metrics) >= REQUIRED


@pytest.mark.parametrize("algorithm", ["fed-avg", "fed-prox", "fed-pub", "local"])
def test_without_examples_the_weights_come_back_as_they_were(algorithm: str):
    ours = trainer(algorithm, linear([1.0, 2.0], 3.0))
    result = ours.train(Toy(num_examples=0), {} if algorithm == "local" else arrays([1.0, 2.0], 3.0), {})
    assert numbers(ours.personal_model(result.state)) == {"weight": [[1, 2]], "bias": [3]}
    assert result.metrics["num-examples"] == 0


class Raises(Toy):
    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        raise ArithmeticError


@pytest.mark.parametrize("algorithm", ["fed-avg", "fed-prox", "fed-pub", "local"])
def test_a_client_whose_training_raises_does_not_spoil_the_next(algorithm: str):
    ours, received = trainer(algorithm), {} if algorithm == "local" else arrays([1.0, 2.0], 3.0)
    with pytest.raises(ArithmeticError):
        ours.train(Raises(), dict(received), {})
    ours.train(Toy(), received, {})
