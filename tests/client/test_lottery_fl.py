"""LotteryFL by hand: θ_0 is W = (0.5, 4), b = 0.25; the gradient is (1, 2) for W, 1 for b; lr 0.5."""

from typing import Any

import pytest
import torch

from fedsieve.client.lottery_fl import LotteryFLTrainer
from fedsieve.contract import Tensors
from fedsieve.errors import UserError
from fedsieve.server.screening import REQUIRED
from tests.client.toy import Toy, linear
from tests.helpers import config

PRUNES = {"lottery-fl.accuracy-threshold": 0.1, "lottery-fl.prune-step": 0.5, "lottery-fl.target": 0.5}
"""The toy tells a validation accuracy of 0.1 of the model as received."""


def made(keys: dict[str, Any] | None = None, model: torch.nn.Module | None = None) -> LotteryFLTrainer:
    plain = {"algorithm": "lottery-fl", "optimizer": "sgd", "lr": 0.5, "weight-decay": 0.0}
    run = config(plain | (keys or {}))
    return LotteryFLTrainer(run, run.settings, model or linear([0.5, 4.0], 0.25))  # type: ignore[arg-type]


def sent(values: list[float], bias: float) -> Tensors:
    return {"values": torch.tensor(values, dtype=torch.float32), "dense/bias": torch.tensor([float(bias)])}


def plain(tensors: Tensors) -> dict[str, Any]:
    return {name: tensor.tolist() for name, tensor in tensors.items()}


def test_below_the_threshold_a_client_trains_what_it_received():
    task, ours = Toy(), made()
    result = ours.train(task, sent([1, -2], 3), {})
    assert plain(result.arrays) == {"values": [0.5, -3], "ticket": [0b11000000], "dense/bias": [2.5]}
    assert result.metrics["mask-sparsity"] == 0
    assert set(result.metrics) >= REQUIRED
    assert plain(ours.personal_model(result.state)) == {"weight": [[0.5, -3]], "bias": [2.5]}


def test_a_client_that_does_well_prunes_the_smallest_weight_and_rewinds_the_rest():
    task, ours = Toy(), made(PRUNES)
    result = ours.train(task, sent([1, -2], 3), {})
    # as received |1| < |-2|: the first goes; θ_0 on the ticket is (0, 4) and 0.25;
    # one step: W = (0, 4 - 0.5·2), b = 0.25 - 0.5
    assert [seen.tolist() for seen in task.seen] == [[[1, -2]], [[0, 3]]]
    assert plain(result.arrays) == {"values": [3], "ticket": [0b01000000], "dense/bias": [-0.25]}
    assert result.metrics["mask-sparsity"] == 0.5
    assert torch.equal(ours.personal_model(result.state)["weight"], task.seen[-1])


def test_at_the_target_a_client_goes_on_from_the_servers_weights():
    ours = made(PRUNES)
    state = ours.train(Toy(), sent([1, -2], 3), {}).state
    for values in ([7.0], [5.0, 7.0]):  # those of the ticket, or all
        task = Toy()
        again = ours.train(task, sent(values, 1), dict(state))
        assert [seen.tolist() for seen in task.seen] == [[[0, 7]], [[0, 6]]]
        assert plain(again.arrays) == {"values": [6], "ticket": [0b01000000], "dense/bias": [0.5]}


def test_training_changes_neither_the_initial_weights_nor_an_earlier_state():
    ours = made(PRUNES)
    first = ours.train(Toy(), sent([1, -2], 3), {})
    before = plain(first.state)
    ours.train(Toy(), sent([9.0], 9), dict(first.state))
    assert plain(first.state) == before
    assert plain(ours.initial) == {"weight": [[0.5, 4]], "bias": [0.25]}
    assert plain(ours.train(Toy(), sent([1, -2], 3), {}).arrays) == plain(first.arrays)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_pruned_weight_stays_zero_under_every_optimiser(optimizer: str):
    keys = PRUNES | {"optimizer": optimizer, "weight-decay": 0.1, "local-epochs": 5}
    result = made(keys).train(Toy(batches=3), sent([1, -2], 3), {})
    assert result.state["weights/weight"][0, 0] == 0


def pruned_sizes(step: float, target: float, calls: int) -> list[int]:
    model = torch.nn.Linear(10, 1, bias=False)
    ours = made(PRUNES | {"lottery-fl.prune-step": step, "lottery-fl.target": target}, model)
    ticket, sizes = ours._read_last_ticket({}), []
    for _ in range(calls):
        ticket = ours._prune(ticket)
        sizes.append(int(ticket["weight"].sum()))
    return sizes


def test_each_step_prunes_a_share_of_what_remains_and_the_last_stops_at_the_target():
    assert pruned_sizes(0.2, 0.5, 5) == [8, 6, 5, 5, 5]
    assert pruned_sizes(0.9, 0.999, 3) == [1, 1, 1]
    assert pruned_sizes(0.2, 0.0, 2) == [10, 10]


def test_of_equal_weights_the_first_stay():
    ours = made(PRUNES, torch.nn.Linear(4, 1, bias=False))
    ours.weights["weight"].data = torch.tensor([[1.0, -1.0, 1.0, 2.0]])
    ticket = ours._prune({"weight": torch.ones(1, 4, dtype=torch.bool)})
    assert ticket["weight"].tolist() == [[True, False, False, True]]


def test_a_client_without_examples_does_not_prune():
    result = made(PRUNES).train(Toy(num_examples=0), sent([1, -2], 3), {})
    assert plain(result.arrays) == {"values": [1, -2], "ticket": [0b11000000], "dense/bias": [3]}


def test_a_node_that_has_lost_its_ticket_says_so():
    with pytest.raises(LookupError, match="lost its ticket"):
        made().train(Toy(), sent([7.0], 1), {})


def test_a_target_of_one_is_refused():
    with pytest.raises(UserError, match="target"):
        made({"lottery-fl.target": 1.0})
