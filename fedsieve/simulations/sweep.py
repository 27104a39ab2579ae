"""Runs an experiment: each run in a process of its own, and none again that has ended."""

import logging
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

from fedsieve.config import Scalar, parse, read
from fedsieve.data.fingerprint import fingerprint
from fedsieve.errors import RunFailedError, UserError, one_line
from fedsieve.keys import Changes, keys_not_read_by, keys_that_change
from fedsieve.runs.checkpoint_folder import newest_manifest
from fedsieve.runs.data_record import check_same_data, fingerprint_of
from fedsieve.runs.folder import check_folder, make_portable
from fedsieve.runs.layout import RunLayout
from fedsieve.simulations import resume, simulate
from fedsieve.simulations.combinations import Point
from fedsieve.simulations.experiment import name_file
from fedsieve.simulations.sweep_progress import SweepProgress

INTERRUPTED = 130

CHANGES_NOTHING = keys_that_change(Changes.NOTHING)
"""Keys in which a run's folder may differ from the experiment: they change none of its numbers."""

_PROCESSES = multiprocessing.get_context("spawn")


class Standing(Enum):
    """How far a run is."""

    NEW = "not begun"
    BEGUN = "unfinished"
    DONE = "done"
    OTHER = "another run"


def read_standing(point: Point, folder: Path) -> Standing:
    """Return how far the run in `folder` is; nothing is written.

    Raises:
        UserError: the folder holds another run, or something else.
    """
    config = RunLayout(folder).config
    if not config.is_file():
        check_folder(folder)
        return Standing.NEW
    with name_file(config):
        before = parse(read(config)).flat()
    has_data = fingerprint_of(folder) is not None
    unread = keys_not_read_by(point.run.partition)
    for key, value in make_portable(point.run).flat().items():
        if has_data and key == "dataset":
            data = partial(fingerprint, partition=point.run.partition)
            check_same_data(folder, point.run.dataset, data)  # wherever they lie
        elif key not in CHANGES_NOTHING | unread and before.get(key) != value:
            conflict = f"a run with {key} = {before.get(key)!r} where the experiment has {value!r}"
            raise UserError(f"{folder}: holds {conflict}; remove it, or choose another --out.")
    newest = newest_manifest(folder)
    return Standing.DONE if newest is not None and newest.covers(point.run) else Standing.BEGUN


def read_standing_or_other(point: Point, folder: Path) -> Standing:
    """Return how far the run in `folder` is; also that it is another one, or no run."""
    try:
        return read_standing(point, folder)
    except UserError:
        return Standing.OTHER


def sweep(points: Sequence[Point], out: Path, *, jobs: int = 1, quiet: bool = False) -> dict[str, str]:
    """Have all runs ended, each in the folder of its name in `out`; return what went wrong, by name.

    A run that has ended is left as it is, one that was interrupted is gone on with, and one that fails does not keep
    the others. `jobs` processes work at once; they and their number change no number of a run.

    Raises:
        UserError: a folder holds something else; then nothing is run.
        KeyboardInterrupt: once the runs under way have left what they have reached on disk.
    """
    stand = {point.name: read_standing(point, out / point.name) for point in points}
    waiting = deque(point for point in points if stand[point.name] is not Standing.DONE)
    running: dict[int, _Job] = {}
    failed: dict[str, str] = {}
    with SweepProgress(len(points), len(points) - len(waiting), jobs, quiet=quiet) as progress:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    point = waiting.popleft()
                    job = _start(point, out / point.name, stand[point.name], quiet)
                    running[job.process.sentinel] = job
                    progress.started(point.name)
                for sentinel in wait(list(running)):
                    job = running.pop(sentinel)  # type: ignore[arg-type]
                    fault = job.fault()
                    if fault:
                        failed[job.name] = fault
                    progress.ended(job.name, time.monotonic() - job.began, fault)
        except BaseException:
            for job in running.values():
                job.process.terminate()
            for job in running.values():
                job.process.join()
            raise
    return failed


@dataclass(frozen=True)
class _Job:
    """A run under way."""

    name: str
    process: BaseProcess
    receiver: Connection
    began: float

    def fault(self) -> str:
        """Return what ended a process that has ended, "" if nothing did but the run's end."""
        self.process.join()
        try:
            return str(self.receiver.recv())
        except EOFError:
            code = self.process.exitcode
        finally:
            self.receiver.close()
        if code == INTERRUPTED:
            return "it was interrupted"
        return f"its process ended with exit code {code}" if code else ""


def _start(point: Point, folder: Path, stand: Standing, quiet: bool) -> _Job:
    receiver, sender = _PROCESSES.Pipe(duplex=False)
    arguments = (point.name, point.run.flat(), str(folder), stand is Standing.BEGUN, quiet, sender)
    process = _PROCESSES.Process(target=_run_once, args=arguments, name=point.name)
    with _without_main():
        process.start()
    sender.close()
    return _Job(point.name, process, receiver, time.monotonic())


@contextmanager
def _without_main() -> Iterator[None]:
    """Let a process that is started import nothing of the caller's script, which would begin the sweep again there."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _run_once(name: str, keys: dict[str, Scalar], folder: str, begun: bool, quiet: bool, sender: Connection) -> None:
    """Run once; in a process group of its own, so that Ctrl-C comes once, from the process that has started this."""
    os.setpgrp()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(format=f"{name}: %(message)s", level=logging.ERROR if quiet else logging.WARNING)
    try:
        if begun:
            resume(Path(folder), quiet=True)
        else:
            simulate(parse(keys | {"out": folder}), quiet=True)
    except (UserError, RunFailedError) as error:
        sender.send(str(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        logging.exception("the run failed")
        sender.send(f"{type(error).__name__}: {one_line(error)}")


def _end_with_parent() -> None:
    """Take the end of the process that has started this, even by SIGKILL, as Ctrl-C."""
    parent: Any = multiprocessing.parent_process()
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
