"""What a user's own data were when a run began: the size and hash of each file, so that other data are noticed."""

import hashlib
import json
from functools import cache, partial
from pathlib import Path
from typing import TypeAlias

from fedsieve.data.kinds import is_named
from fedsieve.data.own_images import find
from fedsieve.errors import UserError
from fedsieve.paths import absolute

Fingerprint: TypeAlias = dict[str, list[int | str]]
"""Bytes and BLAKE2b of each file, by its path in the data's folder; "." is data that are one file."""

NAME = "data.json"
"""In a run's folder."""


def fingerprint(dataset: str) -> Fingerprint:
    """Return the fingerprint of a user's own data; empty for a published set, which its name identifies.

    It says nothing of where the data lie. A folder of images' classes count too, as names that end in `/`.

    Raises `UserError` when there are no such data, or they cannot be read.
    """
    if is_named(dataset):
        return {}
    path = absolute(dataset)
    try:
        files = find(path)
        folders: Fingerprint = {f"{folder.relative_to(path).as_posix()}/": [] for folder in files.folders}
        return folders | {
            file.relative_to(path).as_posix(): _of_file(file) for file in sorted((*files.train, *files.test))
        }
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be read: {error.strerror}.") from error


def written(fingerprint: Fingerprint) -> str:
    """Return a fingerprint as the text of a run's `data.json`."""
    return json.dumps({"format": 1, "files": fingerprint}, indent=2) + "\n"


def fingerprint_of(run: Path) -> Fingerprint | None:
    """Return the fingerprint that a run's folder holds; None where it holds none, as a run on published data does.

    Raises `UserError` when it cannot be read.
    """
    path = run / NAME
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["files"]) if path.exists() else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: is not what the run has written: it is cut off or altered.") from error


def check_same_data(run: Path, dataset: str) -> None:
    """Raise `UserError`, naming the file, when `dataset` is not the data on which the run in a folder began."""
    before = fingerprint_of(run)
    if before is None:
        return
    now = fingerprint(dataset)
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            how = "is new" if name not in before else "is gone" if name not in now else "has changed"
            raise UserError(
                f"{absolute(dataset) / name}: {how} since the run in {run} began, allowed: the data as they were, or "
                "a new run."
            )


def _of_file(path: Path) -> list[int | str]:
    stat = path.stat()
    return [stat.st_size, _hash(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)]


@cache
def _hash(path: Path, *_: int) -> str:
    """Return a file's hash; a sweep asks for each of its runs, so a file that no one has touched is read once."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, partial(hashlib.blake2b, digest_size=16)).hexdigest()
