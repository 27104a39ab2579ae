"""What a run's folder says of a user's own data, so that other data are noticed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from fedsieve.errors import UserError
from fedsieve.paths import make_absolute
from fedsieve.runs.layout import RunLayout

Fingerprint: TypeAlias = dict[str, list[int | str]]
"""Bytes and BLAKE2b of each file, by its path in the data's folder; "." is data that are one file."""


def format_fingerprint(fingerprint: Fingerprint) -> str:
    """Return a fingerprint as the text of a run's `data.json`."""
    return json.dumps({"format": 1, "files": fingerprint}, indent=2) + "\n"


def fingerprint_of(run: Path) -> Fingerprint | None:
    """Return the fingerprint that a run's folder holds; None where it holds none, as a run on published data does.

    Raises `UserError` when it cannot be read.
    """
    path = RunLayout(run).data
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["files"]) if path.exists() else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: is not what the run has written: it is cut off or altered.") from error


def check_same_data(run: Path, dataset: str, fingerprint: Callable[[str], Fingerprint]) -> None:
    """Raise `UserError`, naming the file, when `dataset` is not the data on which the run in a folder began."""
    before = fingerprint_of(run)
    if before is None:
        return
    now = fingerprint(dataset)
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            how = "is new" if name not in before else "is gone" if name not in now else "has changed"
            raise UserError(
                f"{make_absolute(dataset) / name}: {how} since the run in {run} began, allowed: the data as "
                "they were, or a new run."
            )
