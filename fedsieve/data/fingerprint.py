"""What a user's own data were when a run began: the size and hash of each file, so that other data are noticed."""

import hashlib
import sys
from functools import cache, partial
from pathlib import Path

from fedsieve.data.given import lie_apart, list_clients
from fedsieve.data.own_images import find
from fedsieve.errors import UserError
from fedsieve.kinds import is_named
from fedsieve.paths import make_absolute
from fedsieve.runs.data_record import Fingerprint
from fedsieve.user_data import call, is_function

GIVEN = "given"


def fingerprint(dataset: str, partition: str = "") -> Fingerprint:
    """Return the fingerprint of a user's own data; empty for a published set, which its name identifies.

    It says nothing of where the data lie. A folder of images' classes count too, as names that end in `/`. Under the
    partition `given` a folder's files are the clients'. Of a user's function it is that of its module's file.

    Raises `UserError` when there are no such data, or they cannot be read.
    """
    if is_named(dataset):
        return {}
    if is_function(dataset):
        return _of_function(dataset)
    path = make_absolute(dataset)
    try:
        places = [client.path for client in list_clients(path)] if partition == GIVEN and lie_apart(dataset) else [path]
        made: Fingerprint = {}
        for files in map(find, places):
            made |= {f"{folder.relative_to(path).as_posix()}/": [] for folder in files.folders}
            made |= {file.relative_to(path).as_posix(): _of_file(file) for file in sorted((*files.train, *files.test))}
        return made
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be read: {error.strerror}.") from error


def _of_function(dataset: str) -> Fingerprint:
    """Return the fingerprint of the file that a user's function is in: what it reads is its own affair."""
    call(dataset)
    file = getattr(sys.modules[dataset.partition(":")[0]], "__file__", None)
    return {Path(file).name: _of_file(Path(file))} if file else {}


def _of_file(path: Path) -> list[int | str]:
    stat = path.stat()
    return [stat.st_size, _hash(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)]


@cache
def _hash(path: Path, *_: int) -> str:
    """Return a file's hash; a sweep asks for each of its runs, so a file that no one has touched is read once."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, partial(hashlib.blake2b, digest_size=16)).hexdigest()
