import signal
from collections.abc import Iterator
from typing import Any

import pytest
from flwr.app import Message

from fedsieve.algorithms import load_algorithm
from fedsieve.runs.rounds import Round
from fedsieve.server.interrupts import interrupts_wait
from fedsieve.wire import to_record
from tests.helpers import config
from tests.messages import SHAPE, FakeGrid, reply
from tests.strategies.test_base import START, weights


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt, as Python does unless it was started with the signal ignored."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


def test_an_interrupt_takes_effect_at_the_end_of_the_block_and_then_at_once():
    reached: list[int] = []

    def raise_twice() -> None:
        with interrupts_wait():
            signal.raise_signal(signal.SIGINT)
            reached.append(1)

    with pytest.raises(KeyboardInterrupt):
        raise_twice()
    assert reached == [1]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


class Told:
    def __init__(self) -> None:
        self.rounds: list[Round] = []

    def round_finished(self, round_: Round) -> None:
        self.rounds.append(round_)


class Interrupted:
    def round_finished(self, round_: Round) -> None:
        signal.raise_signal(signal.SIGINT)


def interrupted(monkeypatch: pytest.MonkeyPatch, *, in_combine: bool) -> tuple[Told, Told, Any]:
    """Interrupt the first round, when its replies are combined or when its first observer knows of it."""
    run = config({"algorithm": "fed-avg", "num-clients": 2})

    def answer(client: int, _: int, message: Message) -> Message:
        return reply(message, weights(client, client, client))

    before, after, grid = Told(), Told(), FakeGrid(2, answer)
    observers = [before, after] if in_combine else [before, Interrupted(), after]
    strategy: Any = load_algorithm("fed-avg").strategy(run, run.settings, SHAPE, grid.nodes, observers)
    if in_combine:
        combine = strategy.combine
        monkeypatch.setattr(strategy, "combine", lambda replies: (signal.raise_signal(signal.SIGINT), combine(replies)))
    with pytest.raises(KeyboardInterrupt):
        strategy.start(grid, to_record(START), 3)
    return before, after, strategy


@pytest.mark.parametrize("in_combine", [True, False])
def test_an_interrupt_waits_until_the_round_is_combined_and_all_observers_know_it(
    in_combine: bool, monkeypatch: pytest.MonkeyPatch
):
    before, after, strategy = interrupted(monkeypatch, in_combine=in_combine)
    assert [len(told.rounds) for told in (before, after)] == [1, 1]
    assert strategy.server_arrays()["w"].tolist() == [[0.5, 0.5]]
    assert strategy.continues == {0: 1, 1: 1}
