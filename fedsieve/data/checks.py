"""Screening: a graph that cannot be learnt from is refused in one sentence before anything is trained."""

import logging
import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch_geometric.data import Data
from torch_geometric.transforms import LocalDegreeProfile
from torch_geometric.utils import coalesce, is_undirected

from fedsieve.data.split import MASKS
from fedsieve.errors import UserError
from fedsieve.inputs import OF_EDGES

_log = logging.getLogger("fedsieve")

Array: TypeAlias = npt.NDArray[Any]
ANEW = "or split by shares: -s train-ratio=0.3 -s val-ratio=0.3"
"""What to do instead of a file's masks: a requested split replaces them."""

MAX_CLASSES = 100_000
MAX_LENGTH = 1_000_000
"""Of one example: the length of its feature vector, or C · H · W."""


def screen(source: str, arrays: Mapping[str, Array]) -> Data:
    """Return the checked graph: x float32 N x F, edge_index int64 2 x E, y int64 N and bool masks if there were any.

    Where given, edge_weight is float32 E and edge_attr float32 E x D. Direction and self-loops of edges are kept, and
    mean what they mean in PyG's layers. Repeated edges are removed unless each has a weight or attributes of its own.
    A graph without features gets PyG's local degree profile, scaled to mean 0 and variance 1.

    Raises `UserError`, naming `source`, for anything that is missing, malformed, out of range or not finite.
    """
    for key in ("y", "edge_index"):
        if key not in arrays:
            given = f"it holds {', '.join(arrays)}" if arrays else "it holds none of what a graph is made of"
            raise UserError(f"{source}: {key} is missing, {given}; a graph needs x (N x F), edge_index (2 x E), y (N).")
    y = _check_labels(source, arrays["y"])
    edge_index = _check_edges(source, arrays["edge_index"], len(y))
    of_edges = {name: _check_of_edges(source, name, arrays[name], edge_index) for name in OF_EDGES if name in arrays}
    if not of_edges:
        edge_index = _remove_repeated(source, edge_index, len(y))
    if not is_undirected(edge_index, num_nodes=len(y)):
        _log.warning("%s: the edges are directed and stay so: messages pass one way along each", source)
    bare = "x" not in arrays or arrays["x"].shape[1:] == (0,)
    x = _degree_profile(source, edge_index, len(y)) if bare else _check_features(source, arrays["x"], len(y))
    return Data(x=x, edge_index=edge_index, y=y, **of_edges, **_check_masks(source, arrays, y))


def check_learnable(source: str, data: Data, *, part: bool = False) -> None:
    """Raise `UserError` unless there are two classes, or, of a `part` of a federation's data, one.

    Each mask must have a node; the masks must not overlap.
    """
    classes = data.y[data.y >= 0].unique()
    if len(classes) < 2 - part:
        raise UserError(f"{source}: y names {len(classes)} class(es); classification needs at least {2 - part}.")
    for name in MASKS:
        if not data[name].any():
            raise UserError(f"{source}: {name} has no node out of {data.num_nodes}; it needs at least one.")
    shared = int((torch.stack([data[name] for name in MASKS]).sum(dim=0) > 1).sum())
    if shared:
        raise UserError(f"{source}: {shared} nodes are in more than one of {', '.join(MASKS)}; each may be in one.")


def check_size(source: str, example: tuple[int, ...], num_classes: int) -> None:
    """Raise `UserError` for examples or classes beyond the bounds within which a server takes a client's data."""
    if (length := math.prod(example)) > MAX_LENGTH:
        shape = " x ".join(map(str, example))
        raise UserError(f"{source}: one example is {shape}, {length:,} numbers; allowed are at most {MAX_LENGTH:,}.")
    if num_classes > MAX_CLASSES:
        raise UserError(f"{source}: there are {num_classes:,} classes; allowed are at most {MAX_CLASSES:,}.")


def _check_labels(source: str, y: Array) -> torch.Tensor:
    if y.ndim == 2:
        y = flatten_labels(source, y)
    if y.dtype.kind in "USO":
        raise UserError(f"{source}: y holds words; it must be whole numbers: number the classes from 0 on.")
    if y.ndim != 1 or not len(y) or y.dtype.kind not in "biuf":
        raise UserError(f"{source}: y is {y.dtype} of shape {y.shape}; it must be whole numbers, one a node.")
    broken = int((~np.isfinite(y) | (y != np.floor(y))).sum()) if y.dtype.kind == "f" else 0
    if broken:
        raise UserError(f"{source}: y holds {broken} labels that are not whole numbers; give classes from 0 on, or -1.")
    low, high, limit = y.min(), y.max(), min(len(y), MAX_CLASSES) - 1
    if low < -1 or high > limit:
        raise UserError(
            f"{source}: y has labels from {low:.0f} to {high:.0f}; allowed are 0 to {limit} for {len(y)} nodes, "
            "and -1 for nodes without a label."
        )
    return torch.from_numpy(y.astype(np.int64))


def flatten_labels(source: str, y: Array) -> Array:
    """Return labels N x 1 or one-hot N x C as N; a one-hot row of zeros is a node without a label."""
    if y.shape[1] == 1:
        return y[:, 0]
    if not y.shape[1] or y.dtype.kind not in "biuf" or not np.isin(y, (0, 1)).all():
        return y
    if several := int((y.sum(axis=1) > 1).sum()):
        raise UserError(f"{source}: y is {len(y)} x {y.shape[1]} with several classes for {several} nodes; give one.")
    _log.info("%s: y is one-hot, %d x %d: the classes are its columns", source, *y.shape)
    return np.where(y.any(axis=1), y.argmax(axis=1), -1)


def _check_edges(source: str, edges: Array, num_nodes: int) -> torch.Tensor:
    if edges.ndim == 2 and edges.shape[1] == 2 != edges.shape[0]:
        _log.info("%s: edge_index is E x 2 and read as 2 x E", source)
        edges = edges.T
    if edges.ndim != 2 or edges.shape[0] != 2:
        dense = "; of a matrix of N x N take numpy.nonzero" if len(set(edges.shape)) == 1 else ""
        raise UserError(f"{source}: edge_index has shape {edges.shape}; it must be 2 x E{dense}.")
    if edges.dtype.kind == "f" and (edges == np.floor(edges)).all() and np.isfinite(edges).all():
        edges = edges.astype(np.int64)
    if edges.size and edges.dtype.kind not in "iu":
        raise UserError(f"{source}: edge_index is {edges.dtype}; it must be whole numbers.")
    if edges.size and (edges.min() < 0 or edges.max() >= num_nodes):
        raise UserError(
            f"{source}: edge_index names nodes from {edges.min()} to {edges.max()}; y has {num_nodes}, so 0 to "
            f"{num_nodes - 1} are allowed."
        )
    return torch.from_numpy(edges.astype(np.int64))


def _remove_repeated(source: str, edges: torch.Tensor, num_nodes: int) -> torch.Tensor:
    simple: torch.Tensor = coalesce(edges, num_nodes=num_nodes)
    if simple.size(1) < edges.size(1):
        _log.info("%s: %d repeated edges removed", source, edges.size(1) - simple.size(1))
    return simple


def _check_of_edges(source: str, name: str, values: Array, edges: torch.Tensor) -> torch.Tensor:
    """Return the weights, E, or attributes, E x D, of a graph's edges."""
    number = edges.shape[1]
    if name == "edge_weight" and values.shape == (number, 1):
        values = values[:, 0]
    if name == "edge_attr" and values.shape == (number,):
        values = values[:, None]
    dimensions, form = (1, "E") if name == "edge_weight" else (2, "E x D")
    fits = values.ndim == dimensions and len(values) == number and all(values.shape[1:])
    if values.dtype.kind not in "biuf" or not fits:
        given = f"{values.dtype} of shape {values.shape}"
        raise UserError(f"{source}: {name} is {given}; it must be real numbers, {form}, of {number} edges.")
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(values, dtype=np.float32)
    if broken := int((~np.isfinite(numbers)).sum()):
        raise UserError(f"{source}: {name} holds {broken} values that are NaN or infinite; every one must be finite.")
    if name == "edge_weight" and (below := int((numbers < 0).sum())):
        _log.warning("%s: %d edge weights are below 0, of which gcn, appnp and sgc can make no root", source, below)
    return torch.from_numpy(numbers)


def _check_features(source: str, x: Array, num_nodes: int) -> torch.Tensor:
    if x.ndim != 2 or x.dtype.kind not in "biuf":
        raise UserError(f"{source}: x is {x.dtype} of shape {x.shape}; it must be real numbers, N x F.")
    if len(x) != num_nodes:
        raise UserError(f"{source}: x has {len(x)} rows and y {num_nodes}; both must have one a node.")
    with np.errstate(over="ignore"):
        features = np.ascontiguousarray(x, dtype=np.float32)
    broken = int((~np.isfinite(features)).sum())
    if broken:
        raise UserError(f"{source}: x holds {broken} values that are NaN or infinite; every feature must be finite.")
    return torch.from_numpy(features)


def _degree_profile(source: str, edge_index: torch.Tensor, num_nodes: int) -> torch.Tensor:
    from sklearn.preprocessing import scale

    profile: torch.Tensor = LocalDegreeProfile()(Data(edge_index=edge_index, num_nodes=num_nodes)).x
    _log.warning("%s: no features; %d made from the degrees around each node", source, profile.shape[1])
    return torch.from_numpy(np.asarray(scale(profile.double().numpy()), dtype=np.float32))


def _check_masks(source: str, arrays: Mapping[str, Array], y: torch.Tensor) -> dict[str, torch.Tensor]:
    given = [name for name in MASKS if name in arrays]
    if given and len(given) < len(MASKS):
        raise UserError(f"{source}: only {', '.join(given)} given; give all of {', '.join(MASKS)} or none, {ANEW}.")
    return {name: _check_mask(f"{source}: {name}", arrays[name], y) for name in given}


def _check_mask(label: str, mask: Array, y: torch.Tensor) -> torch.Tensor:
    if mask.shape == (len(y), 1):
        mask = mask[:, 0]
    if mask.ndim == 2 and len(mask) == len(y):
        raise UserError(f"{label} holds {mask.shape[1]} splits; it must be {len(y)} booleans: keep one, {ANEW}.")
    if mask.shape != y.shape or mask.dtype.kind not in "biu" or not np.isin(mask, (0, 1)).all():
        raise UserError(f"{label} is {mask.dtype} of shape {mask.shape}; it must be {len(y)} booleans, {ANEW}.")
    chosen = torch.from_numpy(mask.astype(bool))
    unlabelled = int((chosen & (y < 0)).sum())
    if unlabelled:
        _log.warning("%s: %d nodes without a label taken out", label, unlabelled)
    return chosen & (y >= 0)
