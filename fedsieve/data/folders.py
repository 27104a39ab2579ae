"""Where data lie: raw files in FEDSIEVE_DATA, which may be read-only, what is made of them in FEDSIEVE_CACHE."""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import torch
import torch_geometric
from platformdirs import user_cache_path
from torch_geometric.data import Data

from fedsieve.errors import UserError, one_line
from fedsieve.paths import folder_named_by

_log = logging.getLogger("fedsieve")

T = TypeVar("T")


@dataclass(frozen=True)
class Shelf(Generic[T]):
    """How one kind of data is kept: in `folder` of the cache, in files that end in `suffix` and hold for `version`."""

    folder: str
    suffix: str
    version: str
    save: Callable[[T, Path], None]
    load: Callable[[Path], T]


GRAPHS: Shelf[Data] = Shelf(
    "graphs",
    ".pt",
    torch_geometric.__version__,
    lambda data, path: torch.save(data.to_dict(), path),
    lambda path: Data.from_dict(torch.load(path, weights_only=True)),
)


def cache_dir() -> Path:
    """Return the folder for processed files: FEDSIEVE_CACHE, by default the user's cache folder."""
    return folder_named_by("FEDSIEVE_CACHE", partial(user_cache_path, "fedsieve"))


def data_dir() -> Path:
    """Return the folder of the raw files: FEDSIEVE_DATA, by default `data` in the cache folder."""
    return folder_named_by("FEDSIEVE_DATA", lambda: cache_dir() / "data")


def raw_folder(name: str, folder: str, files: Sequence[str], download: Callable[[Path], Path]) -> Path:
    """Return the folder that holds the raw `files` of the data set `name`; download them if none does.

    `folder` is relative to FEDSIEVE_DATA. `download` fills an empty folder and returns the place of the files in it;
    they are then moved one by one, so that no other process ever sees half a file.

    Raises `UserError` when the files are missing and cannot be downloaded.
    """
    places = [data_dir() / folder]
    if _holds(places[0], files):
        return places[0]
    places.append(cache_dir() / "data" / folder)
    if _holds(places[1], files):
        return places[1]
    new = [path for place in places for path in (place, *place.parents) if not path.exists()]
    target = writable_folder(places)
    _log.info("downloading %s to %s", name, target)
    with _remove_empty(new), tempfile.TemporaryDirectory(dir=target, prefix=".download-") as tmp:
        try:
            source = download(Path(tmp))
            for file in files:
                (source / file).replace(target / file)
        except Exception as error:  # each library's network errors are of another family
            raise UserError(
                f"The data set {name!r} is not in {places[0]} and could not be downloaded "
                f"({type(error).__name__}: {one_line(error)}): connect to the network, or put there "
                f"{', '.join(files)}."
            ) from error
    return target


def writable_folder(places: Sequence[Path]) -> Path:
    """Return the first of these folders in which a file can be written, made if need be.

    Raises `UserError` when there is none.
    """
    target = next(filter(_make_writable, places), None)
    if target is None:
        raise _cache_error()
    return target


def load_cached(name: str, raw: Path, files: Sequence[str], build: Callable[[Path], Data]) -> Data:
    """Return the graph that `build` makes of an empty folder, from the cache if it is there; see `load_or_build`."""
    return load_or_build(GRAPHS, name, raw, files, build)


def load_or_build(shelf: Shelf[T], name: str, raw: Path, files: Sequence[str], build: Callable[[Path], T]) -> T:
    """Return what `build` makes of an empty working folder, from the cache if it was made before from the same `files`.

    The cache's file is written under another name and renamed, so processes may do this at the same time.

    Where FEDSIEVE_CACHE is not set and the user's own cache cannot be written, nothing is kept.

    Raises `UserError` when the raw files cannot be read or FEDSIEVE_CACHE cannot be written.
    """
    stats = [(file, (raw / file).stat()) for file in files]
    key = repr([shelf.version, str(raw), *((file, s.st_size, s.st_mtime_ns) for file, s in stats)])
    asked = bool(os.environ.get("FEDSIEVE_CACHE"))
    try:
        folder = cache_dir() / shelf.folder
    except UserError:
        if asked:
            raise
        return _build_uncached(name, raw, build)
    path = folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}{shelf.suffix}"
    if path.is_file():
        try:
            return shelf.load(path)
        except Exception as error:  # whatever a damaged file makes torch or safetensors raise
            _log.warning("%s is damaged (%s) and is made again", path, one_line(error))
    if not _make_writable(folder):
        if asked:
            raise _cache_error()
        return _build_uncached(name, raw, build)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as tmp:
        data = _build(name, raw, build, Path(tmp))
        shelf.save(data, Path(tmp) / "made")
        (Path(tmp) / "made").replace(path)
    return data


def _build_uncached(name: str, raw: Path, build: Callable[[Path], T]) -> T:
    """Return what `build` makes where the user has no folder for a cache and has asked for none."""
    _log.warning("there is no folder for a cache: %s is made again for each run; FEDSIEVE_CACHE names one", name)
    with tempfile.TemporaryDirectory() as tmp:
        return _build(name, raw, build, Path(tmp))


def _build(name: str, raw: Path, build: Callable[[Path], T], working: Path) -> T:
    try:
        return build(working)
    except UserError:
        raise
    except Exception as error:  # whatever a damaged raw file makes PyG, NumPy or pandas raise
        raise UserError(
            f"The raw files of {name!r} in {raw} could not be read ({type(error).__name__}: {one_line(error)}): "
            "delete them there to download them again."
        ) from error


def _holds(folder: Path, files: Sequence[str]) -> bool:
    return all((folder / file).is_file() for file in files)


@contextmanager
def _remove_empty(folders: Sequence[Path]) -> Iterator[None]:
    """Remove those of the folders that are empty when the block ends, the innermost first."""
    try:
        yield
    finally:
        for folder in sorted(folders, key=lambda path: -len(path.parts)):
            with suppress(OSError):
                folder.rmdir()


def _make_writable(folder: Path) -> bool:
    """Make the folder if need be and say whether a file can be written there; root may do so where modes forbid it."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    return False


def _cache_error() -> UserError:
    return UserError(f"FEDSIEVE_CACHE: the folder {cache_dir()} cannot be written; name one that can.")
