"""A run's folder that is resumed: by one process at a time, and only as the same run."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedsieve.config import RunConfig, parse, read
from fedsieve.errors import UserError
from fedsieve.keys import Changes, keys_that_change
from fedsieve.runs.checkpoint_folder import CheckpointFolder
from fedsieve.runs.data_record import fingerprint_of
from fedsieve.runs.folder import check_folder, make_portable
from fedsieve.runs.layout import CONFIG, RunLayout
from fedsieve.runs.reading import read_round_lines

FREE = keys_that_change(Changes.LATER, Changes.NOTHING)
"""Keys that may have changed when a run is resumed: they change no number of a round that is over."""


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Have the run in `folder` to this process as long as the block runs; the system ends it with the process.

    Raises:
        UserError: another process has it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(f"{folder}: is being run by another process; it can be resumed when that has ended.") from None
    finally:
        os.close(descriptor)


@contextmanager
def reopen(folder: Path) -> Iterator[tuple[RunConfig, CheckpointFolder]]:
    """Yield the configuration and the checkpoints of the run in `folder`, which this process alone may then resume.

    Raises:
        UserError: it holds no run, or one whose checkpoints are of no use or that another process is running, or its
            configuration has changed.
    """
    layout = RunLayout(folder)
    if not layout.config.is_file():
        raise UserError(f"{folder}: holds no {CONFIG}; allowed: the folder of a run.")
    with lock_run(folder):
        run, checkpoint_folder = parse(read(layout.config)), CheckpointFolder(layout.checkpoint)
        checkpoint_folder.open()
        if checkpoint_folder.newest is not None:
            check_same(checkpoint_folder.newest.config, run, moved=fingerprint_of(folder) is not None)
        elif layout.summary.exists() and _has_finished_a_round(folder, run.min_clients):
            raise UserError(f"{folder}: holds no checkpoint to resume from.")
        yield run.model_copy(update={"out": str(folder)}), checkpoint_folder


@contextmanager
def open_run(run: RunConfig) -> Iterator[CheckpointFolder]:
    """Yield the checkpoints of the folder `run.out`, be it a new one or that of the same run.

    Raises:
        UserError: it holds something else, or see `reopen`.
    """
    folder = Path(run.out)
    layout = RunLayout(folder)
    if not layout.config.is_file():
        check_folder(folder)
        yield CheckpointFolder(layout.checkpoint)
        return
    with reopen(folder) as (before, checkpoint_folder):
        check_same(before.flat(), run)
        yield checkpoint_folder


def _has_finished_a_round(folder: Path, min_clients: int) -> bool:
    """Return whether enough replies of a round were usable; a run that failed in its first starts from nothing."""
    for line in read_round_lines(folder):
        asked = len(line["participants"])
        if asked - len(line["rejected"]) >= min(min_clients, asked):
            return True
    return False


def check_same(before: Mapping[str, Any], run: RunConfig, *, moved: bool = False) -> None:
    """Raise a `UserError` for a configuration that would have given other rounds than the one `before`.

    `moved`: the data may lie elsewhere, for their content is compared.
    """
    began = parse(before).flat()
    for key, value in make_portable(run).flat().items():
        if key not in FREE and not (moved and key == "dataset") and began[key] != value:
            raise UserError(f"{key}: got {value!r}, allowed: {began[key]!r}, with which the run began.")
