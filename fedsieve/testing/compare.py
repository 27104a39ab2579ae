"""Whether two runs' folders hold the same, and if not, where they first differ: one clause."""

import csv
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

from safetensors import safe_open
from safetensors.numpy import load_file

from fedsieve.runs import layout

RECORDS = (layout.CLIENTS, layout.ROUNDS)
MODELS = f"{layout.MODELS}/*.safetensors"
SERVER = f"{layout.CHECKPOINT}/server-*.safetensors"


def client_rows(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a run's `clients.csv`."""
    with layout.RunLayout(folder).clients.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_forms(path: Path) -> dict[str, str]:
    """Return the type and shape of each tensor in a safetensors file, as `F32 (2, 3)`."""
    with safe_open(path, framework="numpy") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    return {name: f"{part.get_dtype()} {tuple(part.get_shape())}" for name, part in slices.items()}


def difference(folder_of_run: Path, expected: Path, parts: Iterable[str]) -> str | None:
    """Return where the folder `folder_of_run` first differs from `expected`, None if it does not.

    Args:
        folder_of_run, expected: of runs.
        parts: files, or patterns of files, to compare.
    """
    for part in parts:
        names = {str(path.relative_to(folder)) for folder in (folder_of_run, expected) for path in folder.glob(part)}
        for name in sorted(names):
            one, other = folder_of_run / name, expected / name
            if not (one.exists() and other.exists()):
                return f"{name} is there once only"
            if one.read_bytes() != other.read_bytes():
                return _locate(one, other)
    return None


def _locate(one: Path, other: Path) -> str:
    if one.name == layout.CLIENTS:
        return _find_row(one.parent, other.parent)
    if one.suffix != ".safetensors":
        return f"{one.name} differs"
    arrays, others = load_file(one), load_file(other)
    odd = [name for name in {**arrays, **others} if name not in arrays or name not in others]
    odd += [name for name in arrays if name in others and arrays[name].tobytes() != others[name].tobytes()]
    return f"{one.parent.name}/{one.name} differs in {odd[0] if odd else 'its order'}"


def _find_row(folder: Path, expected: Path) -> str:
    for one, other in zip_longest(client_rows(folder), client_rows(expected)):
        if one != other and one and other:
            column = next(column for column in one if one[column] != other[column])
            where = f"in round {one['round']} client {one['client']}"
            return f"{where} has {column} {one[column]} and not {other[column]}"
    return f"{layout.CLIENTS} has another number of rows"
