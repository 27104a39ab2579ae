"""`checkpoint/` in a run's folder: safetensors files, each written once, and the manifests that name them.

A manifest is JSON, written last: format, round, whether the run has finished, token and configuration, what the
run has cost, how long the folder's records were, which of each client's arrays there are, and size and CRC-32 of every
file. The history is in the records, from which it is read back. No generator's state is kept, because none outlives a
round: every draw is seeded by the run's seed, its purpose, the client and the round (seeds.py).
"""

import json
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from threading import Lock
from typing import Any

from safetensors.numpy import load_file

from fedsieve.config import RunConfig
from fedsieve.contract import Arrays
from fedsieve.errors import UserError, one_line
from fedsieve.files import Extent, sync_folder, write_whole
from fedsieve.runs.layout import RunLayout, manifest_file, manifests, round_of_file

_log = logging.getLogger("fedsieve")

FORMAT = 2
KEEP = 2
"""Checkpoints that are kept."""


@dataclass(frozen=True)
class Checkpoint:
    """What a manifest says.

    Attributes:
        round: the last round that is over.
        finished: whether nothing is left to do.
        token: the run's name, under which devices keep their states.
        config: every key of the run, as Flower's run config has it.
        usage: what the run has cost so far.
        records: how much of each record there was.
        server_clients: by client, the round of its `server_client_file`.
        states: by client, the round of its `state_file`; None where states stay on the devices.
        files: what each file must be.
    """

    round: int
    finished: bool
    token: str
    config: dict[str, Any]
    usage: dict[str, float]
    records: dict[str, Extent]
    server_clients: dict[int, int]
    states: dict[int, int] | None
    files: dict[str, Extent]

    def json(self) -> str:
        """Return the manifest, its own checksum first."""
        manifest: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)} | {
            "format": FORMAT
        }
        for name in ("records", "files"):
            manifest[name] = {file: [extent.size, extent.crc32] for file, extent in manifest[name].items()}
        text = json.dumps(manifest)
        return f'{{"crc32": {_compute_checksum(json.loads(text))},\n"manifest": {text}}}\n'

    @classmethod
    def of(cls, text: str) -> "Checkpoint":
        """Return what a manifest says.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it is cut off, altered, or of another format.
        """
        whole = json.loads(text)
        manifest = whole["manifest"]
        if _compute_checksum(manifest) != whole["crc32"]:
            raise ValueError("its checksum does not match")
        if (format_ := manifest.pop("format")) != FORMAT:
            raise ValueError(f"it has format {format_} where {FORMAT} is expected")
        for name in ("records", "files"):
            manifest[name] = {file: Extent(*extent) for file, extent in manifest[name].items()}
        for name in ("server_clients", "states"):
            manifest[name] = (
                None if manifest[name] is None else {int(client): at for client, at in manifest[name].items()}
            )
        return cls(**manifest)

    def covers(self, run: RunConfig) -> bool:
        """Return whether a run with these keys has finished."""
        return self.finished and run.num_rounds <= self.config["num-rounds"] and run.patience == self.config["patience"]


UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)
"""What a manifest raises that is cut off, altered, of another format or not there."""


def newest_manifest(folder: Path) -> Checkpoint | None:
    """Return what a run's newest manifest says that can be read, its files unread; None where there is none."""
    for path in manifests(RunLayout(folder).checkpoint):
        with suppress(*UNREADABLE):
            return Checkpoint.of(path.read_text(encoding="utf-8"))
    return None


class CheckpointFolder:
    """The files of a run's checkpoints; used by the run and by what writes in the background.

    Args:
        path: their own folder, which is made when it is needed.

    Attributes:
        newest: the checkpoint to resume from; None where there was none.
        records: how much of each of the run's records is to stay; None for a new run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.newest: Checkpoint | None = None
        self.records: Mapping[str, Extent] | None = None
        self._checkpoints: list[Checkpoint] = []
        self._files: dict[str, Extent] = {}
        self._reserved: frozenset[str] = frozenset()
        self._lock = Lock()

    def open(self) -> None:
        """Find the newest checkpoint that is whole, and remove what neither it nor the one before it names.

        Raises:
            UserError: there are checkpoints, and none is whole; or the folder cannot be written.
        """
        fault, paths = "", manifests(self.path)
        for path in paths:
            try:
                checkpoint = Checkpoint.of(path.read_text(encoding="utf-8"))
                if self.newest is None:
                    self._check(checkpoint)
                    self.newest = checkpoint
                self._checkpoints.insert(0, checkpoint)
            except UNREADABLE as error:
                fault = fault or f"{path.name}: {one_line(error)}"
                if self.newest is None:
                    _log.warning("a checkpoint is skipped: %s: %s", path, one_line(error))
        if paths and self.newest is None:
            raise UserError(f"{self.path}: holds no checkpoint that is whole ({fault.rstrip('.')}).")
        self.records = {} if self.newest is None else self.newest.records
        self._checkpoints = self._checkpoints[-KEEP:]
        self._files = {name: extent for old in self._checkpoints for name, extent in old.files.items()}
        named = self._names_in_use()
        with _explain_write_errors(self.path):
            for path in self.path.iterdir() if self.path.exists() else ():
                if path.name not in named and round_of_file(path.name) is not None:
                    path.unlink()

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def file(self, name: str) -> Path:
        """Return the path of a file."""
        return self.path / name

    def arrays(self, name: str) -> Arrays:
        """Return the arrays of a file."""
        return dict(load_file(self.file(name)))

    def put(self, name: str, make: Callable[[], bytes]) -> None:
        """Write a file, unless it is there already: what a name stands for never changes.

        Raises:
            UserError: the disk is full, say.
        """
        with self._lock:
            if name in self._files:
                return
            data = make()
            with _explain_write_errors(self.file(name)):
                self.path.mkdir(parents=True, exist_ok=True)
                write_whole(self.file(name), data)
            self._files[name] = Extent().followed_by(data)

    def discard(self, name: str) -> None:
        """Remove a file, unless a checkpoint names it."""
        with self._lock:
            if name in self._files and name not in self._reserved and name not in self._names_in_use():
                self._remove(name)

    def reserve(self, names: Iterable[str]) -> None:
        """Keep these files, once they are there, for the checkpoint that is going to be added."""
        with self._lock:
            self._reserved = frozenset(names)

    def extents(self, names: Iterable[str]) -> dict[str, Extent]:
        """Return what each of these files is."""
        return {name: self._files[name] for name in names}

    def add(self, checkpoint: Checkpoint) -> None:
        """Write a manifest, all of whose files are there, and remove what neither it nor the one before it names.

        Raises:
            UserError: the disk is full, say.
        """
        path = self.path / manifest_file(checkpoint.round)
        with _explain_write_errors(path):
            self.path.mkdir(parents=True, exist_ok=True)
            sync_folder(self.path)
            write_whole(path, checkpoint.json().encode())
            sync_folder(self.path)
            with self._lock:
                before = self._checkpoints
                self._checkpoints = [*(old for old in before if old.round != checkpoint.round), checkpoint][-KEEP:]
                self._reserved, named = frozenset(), self._names_in_use()
                for old in before:
                    if manifest_file(old.round) not in named:
                        (self.path / manifest_file(old.round)).unlink(missing_ok=True)
                for name in [name for name in self._files if name not in named]:
                    if (round_of_file(name) or 0) <= checkpoint.round:
                        self._remove(name)

    def _names_in_use(self) -> set[str]:
        names = {name for checkpoint in self._checkpoints for name in checkpoint.files}
        return names | {manifest_file(checkpoint.round) for checkpoint in self._checkpoints}

    def _remove(self, name: str) -> None:
        del self._files[name]
        self.file(name).unlink(missing_ok=True)

    def _check(self, checkpoint: Checkpoint) -> None:
        for name, extent in checkpoint.files.items():
            if Extent().followed_by(self.file(name).read_bytes()) != extent:
                raise ValueError(f"{name} is cut off or altered")


def _compute_checksum(manifest: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(manifest, sort_keys=True).encode())


@contextmanager
def _explain_write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}.") from error
