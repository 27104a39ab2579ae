"""One run, one folder: what `fedsieve run` leaves on disk, a line at a time."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from fedsieve.algorithms import section_of
from fedsieve.array_files import array_bytes
from fedsieve.config import RunConfig
from fedsieve.contract import Arrays
from fedsieve.errors import UserError
from fedsieve.files import PARTIAL, Extent, write_whole
from fedsieve.kinds import is_named
from fedsieve.objects import is_of_session
from fedsieve.paths import make_absolute
from fedsieve.runs.given_data import note_on
from fedsieve.runs.layout import CLIENTS, CONFIG, RECORDS, ROUNDS, TIMINGS, RunLayout
from fedsieve.runs.records import CLIENT_COLUMNS, client_lines, round_line, timing_line
from fedsieve.runs.rounds import Round
from fedsieve.runs.usage import cpu_seconds

BEGUN = f".{CONFIG}{PARTIAL}"
"""All that a run leaves which is killed while it writes its first file."""

NUMBERS = re.compile(r"\[\s+-?\d+(?:,\s+-?\d+)*\s+\]")
"""A list of whole numbers, a line each."""


class RunFolder:
    """Writes a run's folder; an observer of the round loop, whose lines are in their files when a round is over.

    Args:
        run: its `out` names the folder, which must be new or empty; if empty, a name is made from the date.
        records: of a run that is resumed, how much of each record is to stay; what comes after it is cut off.
        given: what `given_data` says where the run's keys do not say all of its data.

    Attributes:
        records: how much of each record there is.

    Raises:
        UserError: the folder holds something already, or cannot be written; a record is not as `records` says.
    """

    def __init__(
        self, run: RunConfig, records: Mapping[str, Extent] | None = None, given: Mapping[str, Any] | None = None
    ) -> None:
        self.path = folder_of(run)
        self.layout = RunLayout(self.path)
        self.records = dict.fromkeys(RECORDS, Extent()) | dict(records or {})
        self._cpu = cpu_seconds()
        if records is None:
            check_folder(self.path)
            with _explain_write_errors(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
            notes = (note_on(given) if given else "") + note_on_objects(run)
            _write(self.layout.config, (notes + make_portable(run).toml()).encode())
        else:
            for name, extent in self.records.items():
                self._cut(name, extent)
            if not records:  # it starts from nothing
                with _explain_write_errors(self.layout.summary):
                    self.layout.summary.unlink(missing_ok=True)
        if given:
            _write(self.layout.devices, (json.dumps(given, indent=2) + "\n").encode())
        if self.records[CLIENTS].size == 0:
            self._append(CLIENTS, ",".join(CLIENT_COLUMNS))

    def round_finished(self, round_: Round) -> None:
        """Append the round to `rounds.jsonl`, `timings.jsonl` and `clients.csv`."""
        self._append(CLIENTS, *client_lines(round_))
        before, self._cpu = self._cpu, cpu_seconds()
        self._append(TIMINGS, json.dumps(timing_line(round_, self._cpu - before)))
        if not round_.for_metric_only:
            self._append(ROUNDS, json.dumps(round_line(round_), allow_nan=False))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write `summary.json`, whole or not at all; a list of numbers is one line."""
        text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
        _write(self.layout.summary, NUMBERS.sub(lambda found: " ".join(found[0].split()), text).encode())

    def write_data(self, fingerprint: str) -> None:
        """Write the fingerprint of a user's own data, whole or not at all."""
        _write(self.layout.data, fingerprint.encode())

    def write_model(
        self, client: int | None, model: Arrays, about: Mapping[str, object], buffers: Arrays | None = None
    ) -> None:
        """Write the trained model of a client, or with None the one that all share, whole or not at all.

        Buffers lie beside the weights, and their names in what is said `about` it.
        """
        if buffers:
            model, about = model | buffers, {**about, "buffers": sorted(buffers)}
        _write(self.layout.model_of(client), array_bytes(model, about))

    def write_similarity(self, arrays: Arrays, about: Mapping[str, object]) -> None:
        """Write how alike the server found its clients' models, whole or not at all."""
        _write(self.layout.similarity, array_bytes(arrays, about))

    def _append(self, name: str, *lines: str) -> None:
        data, path = "".join(f"{line}\n" for line in lines).encode(), self.path / name
        with _explain_write_errors(path), path.open("ab") as file:
            file.write(data)
        self.records[name] = self.records[name].followed_by(data)

    def _cut(self, name: str, extent: Extent) -> None:
        path = self.path / name
        data = path.read_bytes()[: extent.size] if path.exists() else b""
        if Extent().followed_by(data) != extent:
            raise UserError(f"{path}: is not what the run has written: it is cut off or altered.")
        if path.exists():
            with _explain_write_errors(path):
                os.truncate(path, extent.size)


def _write(path: Path, data: bytes) -> None:
    with _explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)


@contextmanager
def _explain_write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"out: {path} cannot be written: {error.strerror}.") from error


def make_portable(run: RunConfig) -> RunConfig:
    """Return the configuration as it can be run in any folder, into a new one."""
    path = make_absolute(run.dataset)
    is_file = bool(run.dataset) and not is_named(run.dataset) and path.exists()
    return run.model_copy(update={"out": ""} | ({"dataset": str(path)} if is_file else {}))


def note_on_objects(run: RunConfig) -> str:
    """Return comments on the keys that name objects of a Python session; "" where there are none."""
    keys = [key for key, value in (("algorithm", run.algorithm), ("model", run.model)) if is_of_session(value)]
    return "".join(f"# {key} was an object of a Python session, which alone can resume this run.\n" for key in keys)


def check_folder(path: Path) -> None:
    """Raise a `UserError` for a path that is not that of a new or an empty folder, or not to be written.

    Nothing is made.
    """
    if path.parts and path.parts[0].startswith("~"):
        raise UserError(f"out: got {path}, where {path.parts[0]} is nobody's home folder, allowed: ./{path}.")
    try:
        taken = path.exists() and (not path.is_dir() or any(file.name != BEGUN for file in path.iterdir()))
    except OSError as error:
        raise UserError(f"out: {path} cannot be read: {error.strerror}.") from error
    if taken:
        fault = "is not empty" if path.is_dir() else "is a file"
        raise UserError(f"out: got {path}, which {fault}, allowed: a new or an empty folder.")
    check_writable(path)


def check_writable(path: Path) -> None:
    """Raise a `UserError` for a folder in which no file can be made, or that cannot be made itself."""
    place = next(place for place in (path.absolute(), *path.absolute().parents) if os.path.lexists(place))
    try:
        with TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UserError(f"out: {path} cannot be written: {place}: {error.strerror}.") from error


def folder_of(run: RunConfig, of: str | None = None) -> Path:
    """Return `run.out`, or a new name under `runs/` if that is empty: the algorithm, `of` which data, and the time."""
    if run.out:
        return Path(run.out)
    words = [
        section_of(run.algorithm) if is_of_session(run.algorithm) else run.algorithm.replace(":", "-"),
        Path(run.dataset).stem.replace(":", "-") if of is None else of,
        f"{datetime.now():%Y%m%d-%H%M%S-%f}",
    ]
    return Path("runs") / "-".join(filter(None, words))
