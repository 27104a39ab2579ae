"""Graphs that a caller has in memory, as files: every engine reads them there, and so does a run that is resumed.

They lie in the cache, by their content: two runs of one graph are of the same data.
"""

import hashlib
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data, Dataset

from fedsieve.data.folders import cache_dir
from fedsieve.errors import UserError
from fedsieve.files import write_whole
from fedsieve.paths import make_absolute

_log = logging.getLogger("fedsieve")


def name_dataset(given: Any) -> list[tuple[str, str | int]]:
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
        return [("dataset", str(_save_all(given))), ("num-clients", len(given))]
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


def _content_of(data: Data) -> dict[str, Tensor]:
    """Return the tensors of a graph; what else it holds is named in a warning."""
    values = {key: torch.from_numpy(value) if isinstance(value, np.ndarray) and value.dtype != object else value
              for key, value in data.to_dict().items()}  # fmt: skip
    tensors = {key: value.detach().cpu() for key, value in sorted(values.items()) if isinstance(value, Tensor)}
    if others := sorted(values.keys() - tensors.keys() - {"num_nodes"}):
        _log.warning("dataset: %s ignored, which no file of tensors can hold", ", ".join(others))
    return tensors


def _hash(content: dict[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=6)
    for key, tensor in content.items():
        dense = tensor if tensor.layout == torch.strided else tensor.to_dense()
        digest.update(f"{key} {dense.dtype} {tuple(dense.shape)}".encode())
        digest.update(dense.contiguous().flatten().view(torch.uint8).numpy().tobytes() if dense.numel() else b"")
    return digest.hexdigest()


def _write(path: Path, content: dict[str, Tensor]) -> None:
    buffer = io.BytesIO()
    torch.save({key: tensor.clone() for key, tensor in content.items()}, buffer)  # a view would be saved whole
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, buffer.getvalue())
    except OSError as error:
        raise UserError(f"FEDSIEVE_CACHE: {path} cannot be written: {error.strerror}.") from error
