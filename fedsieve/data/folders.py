"""Where data lie: raw files in FEDSIEVE_DATA, which may be read-only, what is made of them in FEDSIEVE_CACHE."""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch
import torch_geometric
from platformdirs import user_cache_path
from torch_geometric.data import Data

from fedsieve.errors import UserError

_log = logging.getLogger("fedsieve")


def cache_dir() -> Path:
    """Return the folder for processed files: FEDSIEVE_CACHE, by default the user's cache folder."""
    return Path(os.environ.get("FEDSIEVE_CACHE") or user_cache_path("fedsieve")).expanduser()


def data_dir() -> Path:
    """Return the folder of the raw files: FEDSIEVE_DATA, by default `data` in the cache folder."""
    return Path(os.environ.get("FEDSIEVE_DATA") or cache_dir() / "data").expanduser()


def raw_folder(name: str, folder: str, files: Sequence[str], download: Callable[[Path], Path]) -> Path:
    """Return the folder that holds the raw `files` of the data set `name`; download them if none does.

    `folder` is relative to FEDSIEVE_DATA. `download` fills an empty folder and returns the place of the files in it;
    they are then moved one by one, so that no other process ever sees half a file.

    Raises `UserError` when the files are missing and cannot be downloaded.
    """
    places = [data_dir() / folder, cache_dir() / "data" / folder]
    for place in places:
        if all((place / file).is_file() for file in files):
            return place
    target = next(filter(_writable, places), None)
    if target is None:
        raise _cache_error()
    _log.info("downloading %s to %s", name, target)
    with tempfile.TemporaryDirectory(dir=target, prefix=".download-") as tmp:
        try:
            found = download(Path(tmp))
            for file in files:
                (found / file).replace(target / file)
        except Exception as error:  # each library's network errors are of another family
            raise UserError(
                f"The data set {name!r} is not in {places[0]} and could not be downloaded "
                f"({type(error).__name__}: {_one_line(error)}): connect to the network, or put there "
                f"{', '.join(files)}."
            ) from error
    return target


def cached(name: str, raw: Path, files: Sequence[str], build: Callable[[Path], Data]) -> Data:
    """Return what `build` makes of an empty working folder, from the cache if it was made before from the same `files`.

    The cache's file is written under another name and renamed, so processes may do this at the same time.

    Raises `UserError` when the raw files cannot be read or the cache cannot be written.
    """
    stats = [(file, (raw / file).stat()) for file in files]
    key = repr([torch_geometric.__version__, str(raw), *((file, s.st_size, s.st_mtime_ns) for file, s in stats)])
    path = cache_dir() / "graphs" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.pt"
    if path.is_file():
        try:
            return Data.from_dict(torch.load(path, weights_only=True))
        except Exception as error:  # whatever a damaged file makes torch.load raise
            _log.warning("%s is damaged (%s) and is made again", path, _one_line(error))
    if not _writable(path.parent):
        raise _cache_error()
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".build-") as tmp:
        try:
            data = build(Path(tmp))
        except Exception as error:  # whatever a damaged raw file makes PyG, NumPy or pandas raise
            raise UserError(
                f"The raw files of {name!r} in {raw} could not be read ({type(error).__name__}: {_one_line(error)}): "
                "delete them there to download them again."
            ) from error
        torch.save(data.to_dict(), Path(tmp) / "graph.pt")
        (Path(tmp) / "graph.pt").replace(path)
    return data


def _writable(folder: Path) -> bool:
    """Make the folder if need be and say whether a file can be written there; root may do so where modes forbid it."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    return False


def _cache_error() -> UserError:
    return UserError(f"FEDSIEVE_CACHE: the folder {cache_dir()} cannot be written; name one that can.")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
