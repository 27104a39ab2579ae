"""A user's own graph, from a file that may come from anywhere: nothing in it is ever executed."""

import logging
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
ABOUT = ("class_names", "num_classes")
"""What a file may say of its classes besides."""

ALIASES: dict[str, tuple[str, ...]] = {
    "x": ("features", "node_features", "node_feat", "attr_matrix"),
    "edge_index": ("edges",),
    "y": ("labels", "label", "node_labels", "node_label"),
    "train_mask": ("train_idx", "train_masks"),
    "val_mask": ("val_idx", "valid_idx", "val_masks", "valid_mask"),
    "test_mask": ("test_idx", "test_masks"),
}
"""Other names that files in use have for these."""

CSR: dict[str, tuple[str, ...]] = {"x": ("x", "attr"), "edge_index": ("adj",)}
"""What may come as a matrix in CSR, under `x_data`, `x_indices`, `x_indptr` and `x_shape`, say."""

PARTS = ("data", "indices", "indptr", "shape")
_DTYPES = [type(np.dtype(code)) for code in "?bhilqBHILQefdgU"]  # no objects: an array of these is a pickle of its own
_CLASSES = [Data, DataEdgeAttr, DataTensorAttr, GlobalStorage, np.ndarray, np.dtype, *_DTYPES]
_CLASSES += [(part, f"numpy.{core}.multiarray.{part.__name__}") for core in ("core", "_core")
             for part in (_reconstruct, scalar)]  # fmt: skip
"""All that a file may name besides tensors and plain containers: what PyG and NumPy 1 and 2 write for plain arrays."""


def read_npz(path: Path, column: str = "") -> dict[str, Any]:
    """Return the arrays of a NumPy archive under `KEYS` and `ABOUT`, and `column` besides.

    A matrix in CSR is a SciPy matrix, of the adjacency the edges.
    """
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise _refuse(path, "it holds one bare array")
        with archive:
            matrices = _find_matrices(path, archive.files)
            names = _find_names(archive.files, matrices)
            parts = {f"{prefix}_{part}" for prefix in matrices.values() for part in PARTS}
            _log_ignored(path, set(archive.files) - parts - {*names.values(), *ABOUT, column})
            arrays: dict[str, Any] = {key: archive[name] for key, name in names.items()}
            for key, prefix in matrices.items():
                arrays[key] = _read_matrix(path, prefix, [archive[f"{prefix}_{part}"] for part in PARTS])
            arrays |= {column: archive[column]} if column in archive.files else {}
            for key in set(ABOUT) & set(archive.files):
                try:
                    arrays[key] = archive[key]
                except ValueError:
                    _log.warning("%s: %s holds Python objects and is ignored", path, key)
    except ValueError as error:
        raise _refuse(path, "it holds Python objects or is not an archive of plain arrays") from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, MemoryError) as error:
        raise _refuse(path, str(error) or "it is cut off") from error
    return _arrange(path, arrays, names)


def read_pt(path: Path, column: str = "") -> dict[str, Any]:
    """Return the arrays of a PyG `Data`, of a dict of tensors, or of PyG's `processed/data.pt`, as `read_npz` does.

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
    return read_mapping(path, graph, column)


def read_mapping(source: Path | str, graph: Mapping[str, Any], column: str = "") -> dict[str, Any]:
    """Return the arrays of a mapping of tensors, arrays and lists, as `read_npz` does.

    Raises `UserError`, naming `source`, for a value that no plain array can hold.
    """
    given = {str(key): value for key, value in graph.items() if value is not None}
    names = _find_names(list(given), {})
    adjacency = next((key for key in ("adj", "adj_t") if key in given and "edge_index" not in names), None)
    _log_ignored(source, set(given) - {*names.values(), *ABOUT, column, "num_nodes", adjacency})
    arrays = {key: _make_array(source, name, given[name]) for key, name in names.items()}
    arrays |= {key: _make_array(source, key, given[key]) for key in (*ABOUT, column) if key in given}
    if adjacency is not None:
        matrix = _make_array(source, adjacency, given[adjacency])
        arrays |= _read_adjacency(source, matrix.T if adjacency == "adj_t" else matrix, arrays)
    return _arrange(source, arrays, names)


def _read_adjacency(source: Path | str, adjacency: Any, others: Mapping[str, Any]) -> dict[str, Array]:
    """Return the edges 2 x E of an adjacency N x N, an array or a SciPy matrix: from the row to the column.

    Its values are the edges' weights, unless all are 1 or there are others.
    """
    places = sp.coo_array(adjacency)
    there = places.data != 0
    edges = {"edge_index": np.stack([places.row[there], places.col[there]]).astype(np.int64)}
    weighted = bool((places.data[there] != 1).any()) and "edge_weight" not in others
    _log.info("%s: its adjacency is read as edges from row to column%s", source, ", weighted" * weighted)
    return edges | ({"edge_weight": places.data[there].astype(np.float32)} if weighted else {})


def _find_names(given: Sequence[str], matrices: Mapping[str, str]) -> dict[str, str]:
    """Return the name under which a file holds each of `KEYS`, its own before others; not what comes in CSR."""
    names = {}
    for key in KEYS:
        name = next((name for name in (key, *ALIASES.get(key, ())) if name in given), None)
        if name is not None and (key not in matrices or name == key):
            names[key] = name
    return names


def _find_matrices(path: Path, given: Sequence[str]) -> dict[str, str]:
    """Return the prefix under which a file holds a matrix in CSR, of each key of which it does."""
    matrices: dict[str, str] = {}
    for key, prefixes in CSR.items():
        for prefix in prefixes:
            parts = [f"{prefix}_{part}" for part in PARTS]
            held = [part for part in parts if part in given]
            if not held or key in matrices or (key in given and prefix != key):
                continue
            if key in given or len(held) < len(parts):
                what = "features" if key == "x" else "edges"
                raise UserError(f"{path}: give the {what} either as {key} or as all of {', '.join(parts)}.")
            matrices[key] = prefix
    return matrices


def _arrange(source: Path | str, arrays: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the arrays with masks k x N, which `train_masks` are, as N x k, and an adjacency N x N as edges."""
    for key, name in names.items():
        if name.endswith("_masks") and arrays[key].ndim == 2:
            arrays[key] = arrays[key].T
    if sp.issparse(arrays.get("edge_index")):
        arrays |= _read_adjacency(source, arrays["edge_index"], arrays)
    return arrays


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


READERS: dict[str, Callable[[Path, str], dict[str, Any]]] = {".npz": read_npz, ".pt": read_pt}


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


def _read_matrix(path: Path, prefix: str, parts: Sequence[Array]) -> sp.csr_array:
    data, indices, indptr, shape = parts
    if data.dtype.kind == "f":
        data = data.astype(np.float32)  # before SciPy works on it
    try:
        rows, columns = map(int, shape)
        matrix = sp.csr_array((data, indices, indptr), shape=(rows, columns))
        matrix.check_format(full_check=True)
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        names = ", ".join(f"{prefix}_{part}" for part in PARTS)
        raise UserError(f"{path}: {names} are no CSR matrix that fits in memory ({error}).") from error
    return matrix


def _make_array(source: Path | str, key: str, value: object) -> Any:
    """Return a tensor as an array or, if it is sparse, as a SciPy matrix."""
    if isinstance(value, np.ndarray) or sp.issparse(value):
        return value
    if isinstance(value, list | tuple) or (isinstance(value, int | np.integer) and key in ABOUT):
        return np.asarray(value)
    if not isinstance(value, torch.Tensor):
        raise UserError(f"{source}: {key} is a {type(value).__name__}; it must be a tensor.")
    try:
        plain = value.detach().cpu()
        plain = plain.float() if plain.is_floating_point() else plain
        if plain.layout == torch.strided:
            return plain.numpy()
        places = plain.to_sparse_coo().coalesce()  # type: ignore[no-untyped-call]
        return sp.csr_array((places.values().numpy(), tuple(places.indices().numpy())), shape=tuple(places.shape))
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{source}: {key} is a {value.dtype} tensor that no plain array can hold ({error}).") from error


def _log_ignored(path: Path | str, keys: Collection[str | None]) -> None:
    if names := sorted(key for key in keys if key):
        _log.warning("%s: %s ignored; used are %s", path, ", ".join(names), ", ".join(KEYS))


def _refuse(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} is not a graph that can be read, for {why}; give a .npz or .pt file with x, edge_index and y."
    )
