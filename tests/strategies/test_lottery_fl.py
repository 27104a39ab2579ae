"""Four weights in one layer and a bias, two or three clients with fixed tickets."""

from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from fedsieve.runs.rounds import Round
from fedsieve.strategies.lottery_fl import LotteryFL
from tests.helpers import config
from tests.messages import METRICS, FakeGrid, reply, rounds_played

START = {"w": np.array([[1, 2], [3, 4]], dtype=np.float32), "b": np.array([10], dtype=np.float32)}
REPLIES = {0: ([1, 1, 0, 0], [10, 20], 1), 1: ([1, 0, 1, 0], [30, 50], 3), 2: ([0, 1, 0, 0], [7], 5)}
"""Of each client: ticket, the weights on it, bias."""


def arrays(ticket: list[int], values: list[float], bias: float) -> dict[str, np.ndarray]:
    return {
        "values": np.array(values, dtype=np.float32),
        "ticket": np.packbits(np.array(ticket, dtype=np.uint8)),
        "dense/b": np.array([bias], dtype=np.float32),
    }


def answer(client: int, round_: int, message: Message) -> Message:
    return reply(message, arrays(*REPLIES[client]), METRICS | {"num-examples": 1 + client})


def play(num_rounds: int, num_clients: int = 2, reply_with: Any = answer) -> tuple[FakeGrid, LotteryFL, list[Round]]:
    run = config(algorithm="lottery-fl", num_clients=num_clients, num_rounds=num_rounds)
    grid, strategy = FakeGrid(num_clients, reply_with), LotteryFL()
    return grid, strategy, rounds_played(run, strategy, grid, START)


def received(grid: FakeGrid, client: int) -> list[tuple[list[float], list[float]]]:
    return [(sent["values"].tolist(), sent["dense/b"].tolist()) for sent in grid.sent_to(client)]


def test_a_weight_is_averaged_over_the_tickets_that_have_it():
    _, strategy, _ = play(1)
    model = strategy.global_model()
    # the first is in both tickets, the last in none and stays; sizes do not count
    assert model["w"].tolist() == [[(10 + 30) / 2, 20], [50, 4]]
    assert model["b"].tolist() == [(1 + 3) / 2]
    assert model["w"].dtype == np.float32


def test_a_client_is_sent_all_weights_at_first_and_then_those_of_its_ticket():
    grid, _, _ = play(2)
    assert received(grid, 0) == [([1, 2, 3, 4], [10]), ([20, 20], [2])]
    assert received(grid, 1) == [([1, 2, 3, 4], [10]), ([20, 50], [2])]


def test_tickets_of_different_sizes():
    _, strategy, _ = play(1, num_clients=3)
    assert strategy.global_model()["w"].tolist() == [[20, pytest.approx((20 + 7) / 2)], [50, 4]]
    assert strategy.global_model()["b"].tolist() == [3]


def test_after_an_unusable_reply_a_client_is_sent_all_weights_again():
    def silent_once(client: int, round_: int, message: Message) -> Message | None:
        return None if (client, round_) == (1, 2) else answer(client, round_, message)

    grid, _, _ = play(4, reply_with=silent_once)
    assert [len(values) for values, _ in received(grid, 1)] == [4, 2, 4, 2]
    assert [len(values) for values, _ in received(grid, 0)] == [4, 2, 2, 2]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (arrays([1, 1, 0, 0], [1], 1), "1 values do not fit a ticket of 2 weights"),
        (arrays([0, 0, 0, 0], [1, 2, 3, 4], 1), "4 values do not fit a ticket of 0 weights"),
        (arrays([1, 1, 0, 0, 1], [1, 2], 1), "the ticket's padding is not zero"),
        (arrays([1] * 9, [1, 2], 1), "array ticket is uint8 (2,) where uint8 (1,) is expected"),
        (arrays([1, 1, 1, 1], [1, 2, 3, 4, 5], 1), "array values has shape (5,) where at most (4,) is expected"),
        (arrays([1, 0, 0, 0], [float("nan")], 1), "array values holds NaN or infinite values"),
    ],
)
def test_what_does_not_fit_is_rejected_with_the_reason(bad: dict[str, np.ndarray], reason: str):
    def broken(client: int, round_: int, message: Message) -> Message:
        return reply(message, bad) if client == 1 else answer(client, round_, message)

    _, strategy, rounds = play(1, reply_with=broken)
    assert rounds[0].rejected == {1: reason}
    assert strategy.global_model()["w"].tolist() == [[10, 20], [3, 4]]
    assert 1 not in strategy.tickets


def test_an_empty_ticket_changes_nothing_but_the_biases():
    def empty(client: int, round_: int, message: Message) -> Message:
        return reply(message, arrays([0, 0, 0, 0], [], 4))

    grid, strategy, _ = play(2, reply_with=empty)
    assert strategy.global_model()["w"].tolist() == START["w"].tolist()
    assert received(grid, 0)[1] == ([], [4])


def test_a_client_without_examples_neither_gives_weights_nor_a_ticket():
    def idle(client: int, round_: int, message: Message) -> Message:
        full = answer(client, round_, message)
        full.content["metrics"]["num-examples"] = 1 - client
        return full

    grid, strategy, _ = play(2, reply_with=idle)
    assert strategy.global_model()["w"].tolist() == [[10, 20], [3, 4]]
    assert len(received(grid, 1)[1][0]) == 4


def test_the_server_remembers_weights_and_tickets():
    _, strategy, _ = play(1)
    kept = {name: array.tolist() for name, array in strategy.state().items()}
    assert kept == {"values": [20, 20, 50, 4], "dense/b": [2]}
    own = [strategy.state_of(client)["ticket"].tolist() for client in (0, 1)]
    assert own == [[0b11000000], [0b10100000]]
