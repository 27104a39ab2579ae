"""Ctrl-C waits until a round is combined and recorded everywhere."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let an interrupt that comes during the block take effect at its end."""
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
