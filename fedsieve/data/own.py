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
from numpy._core.multiarray import _reconstruct, scalar
from torch_geometric.data import Data
from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
from torch_geometric.data.storage import GlobalStorage

from fedsieve.data.checks import Array
from fedsieve.data.split import MASKS
from fedsieve.errors import UserError
from fedsieve.inputs import OF_EDGES

_log = logging.getLogger("fedsieve")

KEYS = ("x", "edge_index", "y", *OF_EDGES, *MASKS)
CSR_KEYS = ("x_data", "x_indices", "x_indptr", "x_shape")
_DTYPES = [type(np.dtype(code)) for code in "?bhilqBHILQefdgU"]  # no objects: an array of these is a pickle of its own
_CLASSES = [Data, DataEdgeAttr, DataTensorAttr, GlobalStorage, np.ndarray, np.dtype, *_DTYPES]
_CLASSES += [(part, f"numpy.{core}.multiarray.{part.__name__}") for core in ("core", "_core")
             for part in (_reconstruct, scalar)]  # fmt: skip
"""All that a file may name besides tensors and plain containers: what PyG and NumPy 1 and 2 write for plain arrays."""


def read_npz(path: Path) -> dict[str, Array]:
    """Return the arrays of a NumPy archive under `KEYS`; `x` may also come as a CSR matrix under `CSR_KEYS`."""
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise _refuse(path, "it holds one bare array")
        with archive:
            _log_ignored(path, set(archive.files) - {*KEYS, *CSR_KEYS})
            arrays = {key: archive[key] for key in archive.files if key in {*KEYS, *CSR_KEYS}}
    except ValueError as error:
        raise _refuse(path, "it holds Python objects or is not an archive of plain arrays") from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, MemoryError) as error:
        raise _refuse(path, str(error) or "it is cut off") from error
    sparse = {key: arrays.pop(key) for key in CSR_KEYS if key in arrays}
    if sparse:
        if "x" in arrays or len(sparse) < len(CSR_KEYS):
            raise UserError(f"{path}: give the features either as x or as all of {', '.join(CSR_KEYS)}.")
        arrays["x"] = _make_dense(path, *(sparse[key] for key in CSR_KEYS))
    return arrays


def read_pt(path: Path) -> dict[str, Array]:
    """Return the arrays of a PyG `Data`, of a dict of tensors, or of PyG's `processed/data.pt`, under `KEYS`.

    Only tensors, plain containers and what `_CLASSES` names are unpickled.
    """
    try:
        with _allow_only(_CLASSES):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        graph = _as_dict(_take_single(path, loaded) if isinstance(loaded, tuple) else loaded)
    except UserError:
        raise
    except OSError as error:
        raise _refuse(path, str(error)) from error
    except Exception as error:  # a foreign or damaged pickle can raise anything
        raise _refuse(path, _explain_fault(path)) from error
    if not isinstance(graph, Mapping):
        raise _refuse(path, f"it holds a {type(graph).__name__}")
    _log_ignored(path, {str(key) for key in graph} - {*KEYS, "num_nodes"})
    return {key: _make_array(path, key, graph[key]) for key in KEYS if graph.get(key) is not None}


def _as_dict(graph: object) -> object:
    return graph.to_dict() if isinstance(graph, Data) else graph


def _take_single(path: Path, saved: tuple[Any, ...]) -> object:
    """Return the one graph of what PyG's `InMemoryDataset` saves: (data or dict, where each graph begins, class)."""
    if len(saved) not in (2, 3) or not isinstance(saved[0], Data | Mapping):
        raise _refuse(path, f"it holds a tuple of {len(saved)}")
    starts = saved[1].get("y", saved[1].get("edge_index")) if isinstance(saved[1], Mapping) else None
    if starts is not None and len(starts) > 2:
        raise _refuse(path, f"it holds {len(starts) - 1} graphs and not one")
    return saved[0]


def _explain_fault(path: Path) -> str:
    """Return why torch has not read a file: the first class that is not allowed, or that it is cut off."""
    try:
        allowed = {f"{kind.__module__}.{kind.__qualname__}" for kind in _CLASSES if not isinstance(kind, tuple)}
        allowed |= {kind[1] for kind in _CLASSES if isinstance(kind, tuple)}
        others = sorted(set(torch.serialization.get_unsafe_globals_in_checkpoint(path)) - allowed)
    except Exception:  # as above
        others = []
    what = f" ({others[0]})" if others else ""
    return f"it is cut off or holds more than tensors, arrays and a PyG Data{what}"


READERS: dict[str, Callable[[Path], dict[str, Array]]] = {".npz": read_npz, ".pt": read_pt}


@contextmanager
def _allow_only(classes: list[Any]) -> Iterator[None]:
    """Let torch unpickle just these classes; `torch.serialization.safe_globals` would add to PyG's, then drop them."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(classes)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _make_dense(path: Path, *parts: Array) -> Array:
    data, indices, indptr, shape = parts
    try:
        rows, columns = map(int, shape)
        matrix = sp.csr_matrix((data, indices, indptr), shape=(rows, columns))
        matrix.check_format(full_check=True)
        return matrix.toarray()
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        raise UserError(f"{path}: {', '.join(CSR_KEYS)} are no CSR matrix that fits in memory ({error}).") from error


def _make_array(path: Path, key: str, value: object) -> Array:
    if isinstance(value, np.ndarray):
        return value
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


def _refuse(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} is not a graph that can be read, for {why}; give a .npz or .pt file with x, edge_index and y."
    )
