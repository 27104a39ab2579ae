import signal
from collections.abc import Iterator

import pytest

from fedsieve.server.interrupts import Together
from fedsieve.strategies.rounds import Round


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt, as Python does unless it was started with the signal ignored."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


ROUND = Round(1, (0,), (), {}, {}, {}, for_metric_only=False, means={}, seconds=0.0)


class Interrupted:
    def round_finished(self, round_: Round) -> None:
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_takes_effect_when_all_observers_know_the_round():
    told: list[int] = []

    class Told:
        def round_finished(self, round_: Round) -> None:
            told.append(round_.number)

    with pytest.raises(KeyboardInterrupt):
        Together([Told(), Interrupted(), Told()]).round_finished(ROUND)
    assert told == [1, 1]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
