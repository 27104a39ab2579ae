"""Every graph by its name or path, checked and split: the one way into this room."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from torch_geometric.data import Data
from torch_geometric.transforms import LargestConnectedComponents

from fedsieve.catalogue import IMAGES
from fedsieve.data.arxiv import ogbn_arxiv
from fedsieve.data.checks import Array, check_learnable, screen
from fedsieve.data.digits import SPLIT, digits_knn
from fedsieve.data.own import READERS
from fedsieve.data.published import amazon, planetoid
from fedsieve.data.split import MASKS, Split, random_split
from fedsieve.data.strange import explain_unread
from fedsieve.errors import UserError, suggest
from fedsieve.paths import expand

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
    dataset: str, *, seed: int, split: Split | None = None, largest_component: bool | None = None, part: bool = False
) -> Data:
    """Return the graph of a name in `DATASETS`, or of a user's own `.npz` or `.pt` file, screened and split.

    x is float32 N x F, edge_index int64 2 x E, y int64 N (-1: no label, in no mask), train_mask, val_mask and test_mask
    bool N, num_classes an int; edge_weight, E, and edge_attr, E x D, where a user's own has them. Named graphs are
    undirected; a user's own keeps its directions, its self-loops and its features as they are.

    Without a `split` a user's own masks hold, else the data set's own fractions, else `Split()`. Without a word on
    `largest_component` named graphs are cut to it and a user's own are not.

    Raises `UserError` for an unknown name, a file that cannot be read and a graph that cannot be learnt from; `part` of
    a federation's data may be of one class.
    """
    named = DATASETS.get(dataset)
    arrays = graph_arrays(dataset)
    if split and (masks := [name for name in MASKS if name in arrays]):
        _log.info("%s: its own masks are replaced by the split that was asked for", dataset)
        arrays = {key: array for key, array in arrays.items() if key not in masks}
    data = screen(dataset, arrays)
    if largest_component or (largest_component is None and named):
        data = _take_largest_component(dataset, data)
    if split or MASKS[0] not in data:
        data = random_split(data, split or (named.split if named else DEFAULT_SPLIT), seed)
    check_learnable(dataset, data, part=part)
    data.num_classes = int(data.y.max()) + 1
    return data


def graph_arrays(dataset: str) -> dict[str, Array]:
    """Return a graph's arrays before anything is checked, those of `fedsieve.data.own.KEYS` that there are.

    Raises `UserError` for an unknown name and a file that cannot be read.
    """
    if dataset in DATASETS:
        return {key: value.numpy() for key, value in DATASETS[dataset].load().to_dict().items()}
    path = expand(dataset)
    reader = READERS.get(path.suffix.lower())
    if reader is None and dataset and path.exists():
        raise explain_unread(path)
    if reader is None:
        names = [*DATASETS, *IMAGES]
        raise UserError(
            f"dataset = {dataset!r} is unknown{suggest(dataset, names)}; allowed are {', '.join(names)}, the path of a "
            f"graph that ends in {' or '.join(READERS)}, and of images: a .parquet file or a folder."
        )
    if not path.is_file():
        raise UserError(f"dataset = {dataset!r}: there is no such file.")
    return reader(path)


def _take_largest_component(dataset: str, data: Data) -> Data:
    component: Data = LargestConnectedComponents()(data)
    if component.num_nodes < data.num_nodes:
        dropped, total = data.num_nodes - component.num_nodes, data.num_nodes
        _log.info("%s: %d of %d nodes are outside the largest component and ignored", dataset, dropped, total)
    return component
