"""Graphs that a caller has in memory, as files: every engine reads them there, and so does a run that is resumed.

They lie in the cache, by their content: two runs of one graph are of the same data.
"""

import hashlib
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data, Dataset

from fedsieve.data.folders import cache_dir
from fedsieve.data.labels import to_words
from fedsieve.data.own import ABOUT
from fedsieve.errors import UserError
from fedsieve.files import write_whole
from fedsieve.paths import make_absolute

_log = logging.getLogger("fedsieve")

Words: TypeAlias = NDArray[np.str_]
Content: TypeAlias = dict[str, Tensor | Words]


def name_dataset(given: Any) -> list[tuple[str, str]]:
    """Return the keys that name data: a name or a path, a graph (`Data`), or a list of graphs, one a client.

    Raises:
        UserError: it is something else, or cannot be written.
    """
    if isinstance(given, str | Path):
        return [("dataset", str(given))]
    if isinstance(given, Dataset):
        if len(given) != 1:
            count = f"{type(given).__name__} of {len(given)} graphs"
            raise UserError(f"dataset: got {count}, allowed: of one, or a list of Data, one a client.")
        given = given[0]
    if isinstance(given, Data):
        return [("dataset", str(_save(given)))]
    if isinstance(given, list | tuple) and given and all(isinstance(one, Data) for one in given):
        return [("dataset", str(_save_all(given)))]
    raise UserError(
        f"dataset: got a {type(given).__name__}, allowed: a name, a path, a torch_geometric.data.Data, or a list of "
        "them, one a client."
    )


def _save(data: Data) -> Path:
    """Return the file of a graph, written unless it is there."""
    content = _content_of(data)
    path = _folder() / f"Data-{_hash(content)}.pt"
    if not path.exists():
        _write(path, content)
    return path


def _save_all(parts: Sequence[Data]) -> Path:
    """Return the folder of clients' graphs, a file each, in their order."""
    contents = [_content_of(part) for part in parts]
    whole = hashlib.blake2b("".join(map(_hash, contents)).encode(), digest_size=6).hexdigest()
    folder = _folder() / f"clients-{whole}"
    digits = len(str(len(parts) - 1))
    for number, content in enumerate(contents):
        if not (path := folder / f"client-{number:0{digits}}.pt").exists():
            _write(path, content)
    return folder


def _folder() -> Path:
    return make_absolute(cache_dir()) / "python"


def _content_of(data: Data) -> Content:
    """Return the tensors of a graph, and its words as arrays; what else it holds is named in a warning."""
    values = {key: _as_plain(key, value) for key, value in sorted(data.to_dict().items())}
    if others := [key for key, value in values.items() if value is None and key != "num_nodes"]:
        _log.warning("dataset: %s ignored, which no file of tensors can hold", ", ".join(others))
    return {key: value for key, value in values.items() if value is not None}


def _as_plain(key: str, value: Any) -> "Tensor | Words | None":
    """Return a value as a tensor, words as an array of them, None where it is neither."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if key in ("y", *ABOUT) and isinstance(value, list | tuple | np.ndarray | int):
        array = np.asarray(value)
        if array.dtype.kind in "USO":
            return np.array(to_words(array))
        value = array
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.from_numpy(value)
    return None


def _hash(content: Content) -> str:
    digest = hashlib.blake2b(digest_size=6)
    for key, value in content.items():
        parts: list[Tensor | Words] = [value]
        if isinstance(value, Tensor) and value.layout != torch.strided:  # which stays sparse
            sparse = value.to_sparse_coo().coalesce()  # type: ignore[no-untyped-call]
            parts = [sparse.indices(), sparse.values()]
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        for part in parts:
            digest.update(_bytes_of(part))
    return digest.hexdigest()


def _bytes_of(value: Tensor | Words) -> bytes:
    if not isinstance(value, Tensor):
        return value.tobytes()
    flat = value.contiguous().flatten()  # NumPy has no bfloat16
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def _write(path: Path, content: Content) -> None:
    buffer = io.BytesIO()
    owned = {key: value.clone() if isinstance(value, Tensor) else value for key, value in content.items()}
    torch.save(owned, buffer)  # a view would be saved whole
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, buffer.getvalue())
    except OSError as error:
        raise UserError(f"FEDSIEVE_CACHE: {path} cannot be written: {error.strerror}.") from error
