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
from torch_geometric.utils import coalesce, is_undirected, to_undirected

from fedsieve.data.labels import MAX_CLASSES, Labels, number_labels
from fedsieve.data.sparse_features import count_broken, to_features
from fedsieve.data.split import MASKS
from fedsieve.errors import UserError
from fedsieve.inputs import OF_EDGES

_log = logging.getLogger("fedsieve")

Array: TypeAlias = npt.NDArray[Any]
ANEW = "or split by shares: -s train-ratio=0.3 -s val-ratio=0.3"
"""What to do instead of a file's masks: a requested split replaces them."""

MAX_LENGTH = 1_000_000
"""Of one example: the length of its feature vector, or C · H · W."""


def screen(
    source: str, arrays: Mapping[str, Any], *, part: bool = False, split: int = -1, undirected: bool = False
) -> Data:
    """Return the checked graph: x float32 N x F, edge_index int64 2 x E, y int64 N and bool masks if there were any.

    Where given, edge_weight is float32 E and edge_attr float32 E x D. Direction and self-loops of edges are kept, and
    mean what they mean in PyG's layers, unless edges are to be `undirected`. Repeated edges are removed unless each has
    a weight or attributes of its own. A graph without features gets PyG's local degree profile, scaled to mean 0 and
    variance 1; x is sparse where a SciPy matrix is given. Of masks N x k the column `split` is taken.

    It has `num_classes` and `class_names` where the labels say more than the largest of them, see `number_labels`.

    Raises `UserError`, naming `source`, for anything that is missing, malformed, out of range or not finite.
    """
    for key in ("y", "edge_index"):
        if key not in arrays:
            given = f"it holds {', '.join(arrays)}" if arrays else "it holds none of what a graph is made of"
            raise UserError(f"{source}: {key} is missing, {given}; a graph needs x (N x F), edge_index (2 x E), y (N).")
    labels = number_labels(source, arrays, part=part)
    y = labels.y
    edge_index = _check_edges(source, arrays["edge_index"], len(y))
    of_edges = {name: _check_of_edges(source, name, arrays[name], edge_index) for name in OF_EDGES if name in arrays}
    if not of_edges:
        edge_index = _remove_repeated(source, edge_index, len(y))
    if undirected:
        edge_index, of_edges = _make_undirected(edge_index, of_edges, len(y))
    elif not is_undirected(edge_index, num_nodes=len(y)):
        _log.warning(
            "%s: the edges are directed and stay so: messages pass one way along each; -s undirected=true adds the "
            "other direction",
            source,
        )
    bare = "x" not in arrays or arrays["x"].shape[1:] == (0,)
    x = _degree_profile(source, edge_index, len(y)) if bare else _check_features(source, arrays["x"], len(y))
    masks = _check_masks(source, arrays, y, split)
    return Data(x=x, edge_index=edge_index, y=y, **of_edges, **masks, **_describe_classes(labels))


def _describe_classes(labels: Labels) -> dict[str, Any]:
    """Return what is known of the classes besides the labels."""
    return ({} if labels.num_classes is None else {"num_classes": labels.num_classes}) | (
        {"class_names": labels.names} if labels.names else {}
    )


def check_learnable(source: str, data: Data, *, part: bool = False) -> None:
    """Raise `UserError` unless there are two classes, or, of a `part` of a federation's data, one or declared ones.

    Each mask must have a node, but for a part's; the masks must not overlap.
    """
    classes = data.y[data.y >= 0].unique()
    needed = 0 if part and "num_classes" in data else 2 - part  # who declares classes may have nodes of none
    if len(classes) < needed:
        hint = "; -1 means a node without a label" * bool((data.y < 0).any())
        raise UserError(f"{source}: y names {len(classes)} class(es); classification needs at least {needed}{hint}.")
    for name in MASKS:
        if not part and not data[name].any():
            raise UserError(f"{source}: {name} has no node out of {data.num_nodes}; it needs at least one.")
    shared = int((torch.stack([data[name] for name in MASKS]).sum(dim=0) > 1).sum())
    if shared:
        raise UserError(
            f"{source}: {shared} nodes are in more than one of {', '.join(MASKS)}; each may be in one, {ANEW}."
        )


def check_size(source: str, example: tuple[int, ...], num_classes: int) -> None:
    """Raise `UserError` for examples or classes beyond the bounds within which a server takes a client's data."""
    if (length := math.prod(example)) > MAX_LENGTH:
        shape = " x ".join(map(str, example))
        raise UserError(f"{source}: one example is {shape}, {length:,} numbers; allowed are at most {MAX_LENGTH:,}.")
    if num_classes > MAX_CLASSES:
        raise UserError(f"{source}: there are {num_classes:,} classes; allowed are at most {MAX_CLASSES:,}.")


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


def _make_undirected(
    edges: torch.Tensor, of_edges: Mapping[str, torch.Tensor], num_nodes: int
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return edges in both directions; what several between two nodes carry, whichever way they go, is averaged."""
    both, carried = to_undirected(edges, list(of_edges.values()), num_nodes=num_nodes, reduce="mean")
    return both, dict(zip(of_edges, carried, strict=True))


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


def _check_features(source: str, x: Any, num_nodes: int) -> torch.Tensor:
    if x.ndim != 2 or x.dtype.kind not in "biuf":
        raise UserError(f"{source}: x is {x.dtype} of shape {x.shape}; it must be real numbers, N x F.")
    if x.shape[0] != num_nodes:
        raise UserError(f"{source}: x has {x.shape[0]} rows and y {num_nodes}; both must have one a node.")
    features = to_features(x)
    broken = count_broken(features)
    if broken:
        raise UserError(f"{source}: x holds {broken} values that are NaN or infinite; every feature must be finite.")
    return features


def _degree_profile(source: str, edge_index: torch.Tensor, num_nodes: int) -> torch.Tensor:
    from sklearn.preprocessing import scale

    profile: torch.Tensor = LocalDegreeProfile()(Data(edge_index=edge_index, num_nodes=num_nodes)).x
    _log.warning("%s: no features; %d made from the degrees around each node", source, profile.shape[1])
    return torch.from_numpy(np.asarray(scale(profile.double().numpy()), dtype=np.float32))


def _check_masks(source: str, arrays: Mapping[str, Any], y: torch.Tensor, split: int) -> dict[str, torch.Tensor]:
    given = [name for name in MASKS if name in arrays]
    if given and len(given) < len(MASKS):
        raise UserError(f"{source}: only {', '.join(given)} given; give all of {', '.join(MASKS)} or none, {ANEW}.")
    numbered = any(_holds_numbers(arrays[name], len(y)) for name in given)
    return {name: _check_mask(f"{source}: {name}", arrays[name], y, split, numbered) for name in given}


def _holds_numbers(mask: Array, num_nodes: int) -> bool:
    """Return whether a mask can only be a list of nodes' numbers: then those beside it are too."""
    whole = not mask.size or mask.dtype.kind in "iu"
    return mask.ndim == 1 and whole and not _is_boolean(mask, num_nodes)


def _check_mask(label: str, mask: Array, y: torch.Tensor, split: int, numbered: bool) -> torch.Tensor:
    if mask.shape == (len(y), 1):
        mask = mask[:, 0]
    if mask.ndim == 2 and len(mask) == len(y):
        count = mask.shape[1]
        if not 0 <= split < count:
            raise UserError(
                f"{label} holds {count} splits; it must be {len(y)} booleans: keep one, take one of them with -s split="
                f"0 to split={count - 1}, {ANEW}."
            )
        mask = mask[:, split]
    can_be_numbers = mask.ndim == 1 and mask.dtype.kind != "b"
    if can_be_numbers and (numbered or len(mask) != len(y)):
        mask = _mark(label, mask, len(y))
    if mask.ndim != 1 or not _is_boolean(mask, len(y)):
        raise UserError(f"{label} is {mask.dtype} of shape {mask.shape}; it must be {len(y)} booleans, {ANEW}.")
    chosen = torch.from_numpy(mask.astype(bool))
    unlabelled = int((chosen & (y < 0)).sum())
    if unlabelled:
        _log.warning("%s: %d nodes without a label taken out", label, unlabelled)
    return chosen & (y >= 0)


def _is_boolean(mask: Array, num_nodes: int) -> bool:
    return mask.shape == (num_nodes,) and mask.dtype.kind in "biu" and bool(np.isin(mask, (0, 1)).all())


def _mark(label: str, nodes: Array, num_nodes: int) -> Array:
    """Return the mask of nodes that are given by their numbers.

    Raises `UserError` where they are none.
    """
    if nodes.size and (nodes.dtype.kind not in "iu" or len(np.unique(nodes)) < len(nodes)):
        raise UserError(
            f"{label} is {nodes.dtype} of shape {nodes.shape}; it must be {num_nodes} booleans or different nodes' "
            f"numbers, {ANEW}."
        )
    if nodes.size and (nodes.min() < 0 or nodes.max() >= num_nodes):
        raise UserError(
            f"{label} names nodes from {nodes.min()} to {nodes.max()}; allowed are 0 to {num_nodes - 1}, {ANEW}."
        )
    mask = np.zeros(num_nodes, dtype=bool)
    mask[nodes.astype(np.int64)] = True
    return mask
