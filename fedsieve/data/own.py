"""A user's own graph, from a file that may come from anywhere: nothing in it is ever executed."""

import logging
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch_geometric.data import Data
from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
from torch_geometric.data.storage import GlobalStorage

from fedsieve.data.checks import Array
from fedsieve.data.split import MASKS
from fedsieve.errors import UserError

_log = logging.getLogger("fedsieve")

KEYS = ("x", "edge_index", "y", *MASKS)
CSR_KEYS = ("x_data", "x_indices", "x_indptr", "x_shape")
_CLASSES = [Data, DataEdgeAttr, DataTensorAttr, GlobalStorage]


def read_npz(path: Path) -> dict[str, Array]:
    """Return the arrays of a NumPy archive under `KEYS`; `x` may also come as a CSR matrix under `CSR_KEYS`."""
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise _not_readable(path, "it holds one bare array")
        with archive:
            _log_ignored(path, set(archive.files) - {*KEYS, *CSR_KEYS})
            arrays = {key: archive[key] for key in archive.files if key in {*KEYS, *CSR_KEYS}}
    except ValueError as error:
        raise _not_readable(path, "it holds Python objects or is not an archive of plain arrays") from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, MemoryError) as error:
        raise _not_readable(path, str(error) or "it is cut off") from error
    sparse = {key: arrays.pop(key) for key in CSR_KEYS if key in arrays}
    if sparse:
        if "x" in arrays or len(sparse) < len(CSR_KEYS):
            raise UserError(f"{path}: give the features either as x or as all of {', '.join(CSR_KEYS)}.")
        arrays["x"] = _dense(path, *(sparse[key] for key in CSR_KEYS))
    return arrays


def read_pt(path: Path) -> dict[str, Array]:
    """Return the arrays of a PyG `Data`, or of a plain dict of tensors, saved by `torch.save`, under `KEYS`.

    Only tensors, plain containers and the few PyG classes in `_CLASSES` are unpickled.
    """
    try:
        with _only(_CLASSES):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        graph = loaded.to_dict() if isinstance(loaded, Data) else loaded
    except OSError as error:
        raise _not_readable(path, str(error)) from error
    except Exception as error:  # a foreign or damaged pickle can raise anything
        raise _not_readable(path, "it is cut off or holds more than tensors and a PyG Data") from error
    if not isinstance(graph, Mapping):
        raise _not_readable(path, f"it holds a {type(graph).__name__}")
    _log_ignored(path, {str(key) for key in graph} - {*KEYS, "num_nodes"})
    return {key: _array(path, key, graph[key]) for key in KEYS if graph.get(key) is not None}


READERS: dict[str, Callable[[Path], dict[str, Array]]] = {".npz": read_npz, ".pt": read_pt}


@contextmanager
def _only(classes: list[Any]) -> Iterator[None]:
    """Let torch unpickle just these classes; `torch.serialization.safe_globals` would add to PyG's, then drop them."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(classes)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _dense(path: Path, *parts: Array) -> Array:
    data, indices, indptr, shape = parts
    try:
        rows, columns = map(int, shape)
        matrix = sp.csr_matrix((data, indices, indptr), shape=(rows, columns))
        matrix.check_format(full_check=True)
        return matrix.toarray()
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        raise UserError(f"{path}: {', '.join(CSR_KEYS)} are no CSR matrix that fits in memory ({error}).") from error


def _array(path: Path, key: str, value: object) -> Array:
    if not isinstance(value, torch.Tensor):
        raise UserError(f"{path}: {key} is a {type(value).__name__}; it must be a tensor.")
    try:
        dense = value.detach() if value.layout == torch.strided else value.detach().to_dense()
        return (dense.float() if dense.is_floating_point() else dense).numpy()
    except (RuntimeError, TypeError) as error:
        raise UserError(f"{path}: {key} is a {value.dtype} tensor that no plain array can hold ({error}).") from error


def _log_ignored(path: Path, keys: set[str]) -> None:
    if keys:
        _log.warning("%s: %s ignored; used are %s", path, ", ".join(sorted(keys)), ", ".join(KEYS))


def _not_readable(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} is not a graph that can be read, for {why}; give a .npz or .pt file with x, edge_index and y."
    )
