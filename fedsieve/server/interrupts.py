"""Ctrl-C, and SIGTERM, wait until a round is combined and recorded everywhere."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let an interrupt that comes during the block take effect at its end."""
    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread only
        yield
        return
    waiting: list[int] = []
    usual = {number: signal.signal(number, lambda got, _: waiting.append(got)) for number in INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not set from Python
    if waiting:
        signal.raise_signal(waiting[0])
