import signal
from collections.abc import Iterator

import pytest
from flwr.app import Message

from fedsieve.runs.rounds import Round
from fedsieve.server.interrupts import interrupts_wait
from fedsieve.server.loop import RoundLoop
from fedsieve.strategies.fed_avg import FedAvg
from tests.helpers import config
from tests.messages import FakeGrid, reply
from tests.server.test_loop import START, weights


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


class Watch:
    def __init__(self) -> None:
        self.rounds: list[Round] = []

    def round_finished(self, round_: Round) -> None:
        self.rounds.append(round_)


class Interrupted:
    def round_finished(self, round_: Round) -> None:
        signal.raise_signal(signal.SIGINT)


def interrupted(monkeypatch: pytest.MonkeyPatch, *, in_combine: bool) -> tuple[Watch, Watch, FedAvg, RoundLoop]:
    """Interrupt the first round, when its replies are combined or when its first observer knows of it."""
    run = config(algorithm="fed-avg", num_clients=2, num_rounds=3)

    def answer(client: int, _: int, message: Message) -> Message:
        return reply(message, weights(client, client, client))

    before, after, grid = Watch(), Watch(), FakeGrid(2, answer)
    observers = [before, after] if in_combine else [before, Interrupted(), after]
    strategy = FedAvg()
    loop = RoundLoop(run, strategy, grid.nodes, observers=observers)
    if in_combine:
        combine = strategy.combine
        monkeypatch.setattr(strategy, "combine", lambda replies: (signal.raise_signal(signal.SIGINT), combine(replies)))
    with pytest.raises(KeyboardInterrupt):
        loop.play(grid, START)
    return before, after, strategy, loop


@pytest.mark.parametrize("in_combine", [True, False])
def test_an_interrupt_waits_until_the_round_is_combined_and_all_observers_know_it(
    in_combine: bool, monkeypatch: pytest.MonkeyPatch
):
    before, after, strategy, loop = interrupted(monkeypatch, in_combine=in_combine)
    assert [len(one.rounds) for one in (before, after)] == [1, 1]
    assert strategy.state()["w"].tolist() == [[0.5, 0.5]]
    assert loop.continues == {0: 1, 1: 1}
