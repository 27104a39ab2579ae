"""Ctrl-C waits until a round is recorded everywhere."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fedsieve.strategies.rounds import Observer, Round


class Together:
    """Tells several observers of a round; an interrupt in between takes effect when all know it."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def round_finished(self, round_: Round) -> None:
        """Tell all observers, in order."""
        with _interrupts_wait():
            for observer in self._observers:
                observer.round_finished(round_)


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread only
        yield
        return
    waiting: list[int] = []
    usual = signal.signal(signal.SIGINT, lambda number, _: waiting.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
    if waiting:
        signal.raise_signal(signal.SIGINT)
