"""One run, one folder: what `fedsieve run` leaves on disk, a line at a time."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from fedsieve.array_files import array_bytes
from fedsieve.config import RunConfig
from fedsieve.contract import Arrays
from fedsieve.errors import UserError, one_line
from fedsieve.files import PARTIAL, Extent, write_whole
from fedsieve.kinds import GRAPH_NAMES, IMAGE_NAMES
from fedsieve.runs.records import CLIENT_COLUMNS, client_lines, read_rounds, round_line
from fedsieve.runs.rounds import Round
from fedsieve.runs.usage import cpu_seconds

NAMES = {*GRAPH_NAMES, *IMAGE_NAMES}

BEGUN = f".config.toml{PARTIAL}"
"""All that a run leaves which is killed while it writes its first file."""

RECORDS = ("rounds.jsonl", "timings.jsonl", "clients.csv")


class RunFolder:
    """Writes a run's folder; an observer of the round loop, whose lines are in their files when a round is over.

    Args:
        run: its `out` names the folder, which must be new or empty; if empty, a name is made from the date.
        records: of a run that goes on, how much of each record is to stay; what comes after it is cut off.

    Attributes:
        records: how much of each record there is.

    Raises:
        UserError: the folder holds something already, or cannot be written; a record is not as `records` says.
    """

    def __init__(self, run: RunConfig, records: Mapping[str, Extent] | None = None) -> None:
        self.path = folder_of(run)
        self.records = dict.fromkeys(RECORDS, Extent()) | dict(records or {})
        self._cpu = cpu_seconds()
        if records is None:
            check_folder(self.path)
            with self._writing(""):
                self.path.mkdir(parents=True, exist_ok=True)
            self.write_text("config.toml", anywhere(run).toml())
        else:
            for name, extent in self.records.items():
                self._cut(name, extent)
            if not records:  # it begins anew
                with self._writing("summary.json"):
                    (self.path / "summary.json").unlink(missing_ok=True)
        if self.records["clients.csv"].size == 0:
            self._append("clients.csv", ",".join(CLIENT_COLUMNS))

    def rounds(self) -> tuple[Round, ...]:
        """Read back the rounds that there are.

        Raises:
            UserError: the records are not those of a run.
        """
        try:
            timings = [json.loads(line) for line in (self.path / "timings.jsonl").read_text("utf-8").splitlines()]
            with (self.path / "clients.csv").open(encoding="utf-8", newline="") as file:
                return read_rounds(file, {line["round"]: line["seconds"] for line in timings})
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{self.path}: clients.csv and timings.jsonl cannot be read: {one_line(error)}.") from error

    def round_finished(self, round_: Round) -> None:
        """Append the round to `rounds.jsonl`, `timings.jsonl` and `clients.csv`."""
        self._append("clients.csv", *client_lines(round_))
        before, self._cpu = self._cpu, cpu_seconds()
        spent = round(self._cpu - before, 6)
        times = {"round": round_.number, "seconds": round(round_.seconds, 6), "cpu_seconds": spent}
        self._append("timings.jsonl", json.dumps(times))
        if not round_.for_metric_only:
            self._append("rounds.jsonl", json.dumps(round_line(round_), allow_nan=False))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write `summary.json`, whole or not at all."""
        self.write_text("summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a text file, whole or not at all."""
        with self._writing(name):
            write_whole(self.path / name, text.encode())

    def write_arrays(self, name: str, arrays: Arrays, about: Mapping[str, object]) -> None:
        """Write a safetensors file, whole or not at all; `name` may have folders."""
        target = self.path / name
        with self._writing(name):
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, array_bytes(arrays, about))

    def _append(self, name: str, *lines: str) -> None:
        data = "".join(f"{line}\n" for line in lines).encode()
        with self._writing(name), (self.path / name).open("ab") as file:
            file.write(data)
        self.records[name] = self.records[name].followed_by(data)

    def _cut(self, name: str, extent: Extent) -> None:
        path = self.path / name
        found = path.read_bytes()[: extent.size] if path.exists() else b""
        if Extent().followed_by(found) != extent:
            raise UserError(f"{path}: is not what the run has written: it is cut off or altered.")
        if path.exists():
            with self._writing(name):
                os.truncate(path, extent.size)

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"out: {self.path / name} cannot be written: {error.strerror}.") from error


def anywhere(run: RunConfig) -> RunConfig:
    """Return the configuration as it can be run in any folder, into a new one."""
    path = Path(run.dataset)
    own = run.dataset not in NAMES and path.exists()
    return run.model_copy(update={"out": ""} | ({"dataset": str(path.resolve())} if own else {}))


def check_folder(path: Path) -> None:
    """Raise a `UserError` for a path that is not that of a new or an empty folder; nothing is made."""
    try:
        taken = path.exists() and (not path.is_dir() or any(file.name != BEGUN for file in path.iterdir()))
    except OSError as error:
        raise UserError(f"out: {path} cannot be read: {error.strerror}.") from error
    if taken:
        fault = "is not empty" if path.is_dir() else "is a file"
        raise UserError(f"out: got {path}, which {fault}, allowed: a new or an empty folder.")


def folder_of(run: RunConfig) -> Path:
    """Return `run.out`, or a new name under `runs/` if that is empty."""
    if run.out:
        return Path(run.out)
    return Path("runs") / f"{run.algorithm}-{Path(run.dataset).stem}-{datetime.now():%Y%m%d-%H%M%S-%f}"


def read_summary(folder: Path) -> dict[str, Any]:
    """Read a run's `summary.json`; a folder without one is a `UserError`."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        if not (isinstance(summary, dict) and {"algorithm", "dataset", "test_accuracy_per_client"} <= set(summary)):
            raise ValueError("not a summary")
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: holds no readable summary.json; allowed: the folder of a run.") from error
    return summary
