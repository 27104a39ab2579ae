"""What a run changes of the process that it runs in is put back when it has ended, however it ends.

Data that it has read are forgotten: in a notebook the next run is often one of other data under the same name.
"""

import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedsieve.client.app.holdings import forget_data

LOGS = ("", "fedsieve", "flwr", "ray")
"""Loggers, the root's among them, to which libraries add handlers as they are imported."""


@contextmanager
def leave_as_it_was() -> Iterator[None]:
    """Put back, after the block, folder, module path, environment, handlers of signals and those of loggers."""
    folder, path, environment = Path.cwd(), list(sys.path), dict(os.environ)
    logs = [(log, list(log.handlers), log.level, log.propagate) for log in map(logging.getLogger, LOGS)]
    is_main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if is_main else {}
    drawn = random.getstate()  # Ray draws from it
    try:
        yield
    finally:
        forget_data()
        random.setstate(drawn)
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:  # None: not set from Python
                signal.signal(number, handler)
        for log, before, level, propagate in logs:
            log.handlers, log.level, log.propagate = before, level, propagate
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        sys.path[:] = path
        os.chdir(folder)
