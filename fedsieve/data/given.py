"""Clients whose data lie apart: a folder of one file, or folder of images, a client."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedsieve.catalogue import GRAPHS, IMAGES
from fedsieve.data.columns import natural_order
from fedsieve.data.shards import SHARD, SPLIT
from fedsieve.errors import UserError
from fedsieve.paths import expand
from fedsieve.user_data import call, find_clients, is_function

_log = logging.getLogger("fedsieve")

GRAPH_FILES = (".npz", ".pt")
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "data"}


@dataclass(frozen=True)
class ClientFile:
    """What one client is called, and where its data lie; `given` is what a function returned for it."""

    name: str
    path: Path
    given: Any = None


def lie_apart(dataset: str) -> bool:
    """Return whether given clients' data lie apart, in a folder's files or a function's list; else a column says it."""
    if is_function(dataset):
        return find_clients(call(dataset)) is not None
    path = expand(dataset)
    return bool(dataset) and dataset not in (*GRAPHS, *IMAGES) and path.is_dir() and not _is_one_set(path)


def list_given(dataset: str) -> list[ClientFile]:
    """Return the clients of a folder, see `list_clients`, or those that a function lists, in its order."""
    if not is_function(dataset):
        return list_clients(expand(dataset))
    parts = find_clients(call(dataset)) or {}
    return [ClientFile(name, Path(f"{dataset}[{name}]"), given) for name, given in parts.items()]


def list_clients(folder: Path) -> list[ClientFile]:
    """Return the clients whose files lie in a folder, in natural order of their names.

    A client is a graph (.npz, .pt), a parquet file or a folder of images; what else is there is warned about.

    Raises `UserError` when there is none, or there are graphs and images.
    """
    entries = sorted(_entries(folder), key=lambda path: (natural_order(_name(path)), path.name))
    graphs = [entry for entry in entries if entry.suffix.lower() in GRAPH_FILES and entry.is_file()]
    images = [entry for entry in entries if entry.is_dir() or (entry.suffix.lower() == ".parquet" and entry.is_file())]
    if graphs and images:
        raise UserError(
            f"{folder}: holds a graph, {graphs[0].name}, and images, {images[0].name}; allowed are clients of one kind."
        )
    chosen = graphs or images
    if not chosen:
        raise UserError(
            f"{folder}: holds no client's data; with partition = 'given' it must hold one .npz, .pt or .parquet file, "
            "or one folder of images, a client."
        )
    if others := [entry.name for entry in entries if entry not in chosen]:
        _log.warning("%s: %d entries ignored, %s first", folder, len(others), others[0])
    stems = [_name(entry) for entry in chosen]
    unique = len(set(stems)) == len(stems)
    return [ClientFile(stem if unique else entry.name, entry) for stem, entry in zip(stems, chosen, strict=True)]


def _is_one_set(folder: Path) -> bool:
    """Return whether a folder is one set of images: its parquet files or folders are called as splits are."""
    entries = _entries(folder)
    tables = [entry.name for entry in entries if entry.suffix.lower() == ".parquet"]
    folders = [entry.name.lower() for entry in entries if entry.is_dir()]
    if tables:
        return all(SPLIT.match(name) or SHARD.fullmatch(name) for name in tables)
    return bool(folders) and SPLITS.issuperset(folders)


def _name(entry: Path) -> str:
    return entry.name if entry.is_dir() else entry.stem


def _entries(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
