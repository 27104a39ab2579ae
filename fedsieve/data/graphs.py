"""Every graph by its name or path, checked and split: the one way into this room."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch_geometric.data import Data
from torch_geometric.transforms import LargestConnectedComponents

from fedsieve.catalogue import IMAGES
from fedsieve.data.arxiv import ogbn_arxiv
from fedsieve.data.checks import check_learnable, screen
from fedsieve.data.columns import Holders, find_holders
from fedsieve.data.digits import SPLIT, digits_knn
from fedsieve.data.own import READERS, read_mapping
from fedsieve.data.published import amazon, planetoid
from fedsieve.data.pyg import PREFIX as PYG
from fedsieve.data.pyg import pyg_arrays
from fedsieve.data.sparse_features import take_rows
from fedsieve.data.split import MASKS, Split, random_split
from fedsieve.data.strange import explain_no_images, explain_unread
from fedsieve.errors import UserError, suggest
from fedsieve.inputs import OF_EDGES
from fedsieve.paths import expand
from fedsieve.user_data import call, find_clients, is_function, is_graph

_log = logging.getLogger("fedsieve")


DEFAULT_SPLIT = Split()


@dataclass(frozen=True)
class NamedGraph:
    """A graph known by name: `load` gives x, edge_index and y; `split` is used when none is asked for."""

    load: Callable[[], Data]
    split: Split = DEFAULT_SPLIT


DATASETS: dict[str, NamedGraph] = {
    "digits-knn": NamedGraph(digits_knn, SPLIT),
    "cora": NamedGraph(planetoid("Cora")),
    "citeseer": NamedGraph(planetoid("CiteSeer")),
    "pubmed": NamedGraph(planetoid("PubMed")),
    "photo": NamedGraph(amazon("Photo")),
    "computers": NamedGraph(amazon("Computers")),
    "ogbn-arxiv": NamedGraph(ogbn_arxiv),
}


def load_graph(
    dataset: str,
    *,
    seed: int,
    split: Split | None = None,
    largest_component: bool | None = None,
    part: bool = False,
    column: str = "",
    number: int = -1,
    undirected: bool = False,
    given: Any = None,
) -> Data:
    """Return the graph of a name in `DATASETS`, or of a user's own `.npz` or `.pt` file, screened and split.

    x is float32 N x F, edge_index int64 2 x E, y int64 N (-1: no label, in no mask), train_mask, val_mask and test_mask
    bool N, num_classes an int, class_names a tuple, empty where labels are numbers; edge_weight, E, and edge_attr,
    E x D, where a user's own has them. Named graphs are undirected; a user's own keeps its directions, unless it is to
    be made `undirected`, its self-loops and its features as they are, sparse ones sparse.

    With a `column`, an array of the nodes, `client` is the number of each node's holder and `client_names` what the
    holders are called. Of masks N x k the split `number` is taken. What a user's function has `given`, a Data or a
    mapping, is taken for what the name stands for.

    Without a `split` a user's own masks hold, else the data set's own fractions, else `Split()`. Without a word on
    `largest_component` named graphs are cut to it and a user's own are not.

    Raises `UserError` for an unknown name, a file that cannot be read and a graph that cannot be learnt from; `part` of
    a federation's data may be of one class.
    """
    named = DATASETS.get(dataset)
    arrays = graph_arrays(dataset, column) if given is None else _read_object(dataset, given, column)
    if split and (masks := [name for name in MASKS if name in arrays]):
        _log.info("%s: its own masks are replaced by the split that was asked for", dataset)
        arrays = {key: array for key, array in arrays.items() if key not in masks}
    data = screen(dataset, arrays, part=part, split=number, undirected=undirected)
    holders = find_node_holders(dataset, column, arrays) if column else None
    if holders is not None:
        data.client = torch.from_numpy(holders.of)
    if largest_component or (largest_component is None and named):
        data = _take_largest_component(dataset, data)
    if split or MASKS[0] not in data:
        data = random_split(data, split or (named.split if named else DEFAULT_SPLIT), seed)
    check_learnable(dataset, data, part=part)
    data.declares_classes = "num_classes" in data
    data.num_classes = max(int(data.y.max()) + 1, data.to_dict().get("num_classes", 0))
    data.class_names = data.to_dict().get("class_names", ())
    if holders is not None:
        data.client_names = holders.names
    return data


def find_node_holders(dataset: str, column: str, arrays: Mapping[str, Any]) -> Holders:
    """Return who holds each node by the array `column`.

    Raises `UserError` where there is none.
    """
    if column not in arrays:
        raise UserError(
            f"{dataset}: has no array {column!r}, which says whose each node is; allowed: one of a name or whole "
            "number for each node."
        )
    values = arrays[column]
    if values.ndim != 1:
        raise UserError(f"{dataset}: {column} is of shape {values.shape}; it must be one value a node.")
    return find_holders(dataset, column, values.tolist(), len(arrays["y"]) if "y" in arrays else len(values))


def graph_arrays(dataset: str, column: str = "") -> dict[str, Any]:
    """Return a graph's arrays before anything is checked: those of `fedsieve.data.own.KEYS` that there are.

    `column` is another one to return. Features and what the file says of its classes may be there besides; see
    `fedsieve.data.own.read_npz`.

    Raises `UserError` for an unknown name and a file that cannot be read.
    """
    if dataset in DATASETS:
        return {key: value.numpy() for key, value in DATASETS[dataset].load().to_dict().items()}
    if is_function(dataset):
        given = call(dataset)
        if (clients := find_clients(given)) is not None:
            raise UserError(
                f"dataset: got {dataset!r}, which returns the data of {len(clients)} clients, allowed: with "
                "partition = 'given'."
            )
        return _read_object(dataset, given, column)
    if dataset.startswith(PYG):
        return pyg_arrays(dataset, column)
    path = expand(dataset)
    if dataset and path.is_dir() and path.suffix.lower() not in READERS:
        raise explain_no_images(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None and dataset and path.exists():
        raise explain_unread(path)
    if reader is None:
        names = [*DATASETS, *IMAGES]
        raise UserError(
            f"dataset = {dataset!r} is unknown{suggest(dataset, names)}; allowed are {', '.join(names)}, a data set of "
            f"PyG's such as pyg:Coauthor/CS, the path of a graph that ends in {' or '.join(READERS)}, and of images: a "
            ".parquet file or a folder."
        )
    if not path.is_file():
        raise UserError(f"dataset = {dataset!r}: there is no such file.")
    return reader(path, column)


def _read_object(source: str, given: Any, column: str) -> dict[str, Any]:
    """Return the arrays of a Data or a mapping."""
    mapping = given if isinstance(given, Mapping) else getattr(given, "to_dict", dict)()
    if not isinstance(mapping, Mapping) or not is_graph(mapping):
        what = type(given).__name__
        raise UserError(f"{source}: is a {what}, allowed: a PyG Data, or a mapping with x, edge_index and y.")
    return read_mapping(source, mapping, column)


def _take_largest_component(dataset: str, data: Data) -> Data:
    edges = torch.arange(data.num_edges)
    bare = Data(edge_index=data.edge_index, y=data.y, node=torch.arange(data.num_nodes), edge_place=edges)
    component: Data = LargestConnectedComponents()(bare)
    nodes = component.node
    if component.num_nodes < data.num_nodes:
        dropped, total = data.num_nodes - component.num_nodes, data.num_nodes
        _log.info("%s: %d of %d nodes are outside the largest component and ignored", dataset, dropped, total)
    given = data.to_dict()
    of_nodes = {key: given[key][nodes] for key in ("y", "client", *MASKS) if key in given}
    of_edges = {key: given[key][component.edge_place] for key in OF_EDGES if key in given}
    of_nodes["x"] = take_rows(data.x, nodes)
    return Data(**given | of_nodes | of_edges | {"edge_index": component.edge_index})
