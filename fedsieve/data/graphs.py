"""Every graph by its name or path, checked and split: the one way into this room."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch_geometric.data import Data
from torch_geometric.transforms import LargestConnectedComponents

from fedsieve.data.arxiv import ogbn_arxiv
from fedsieve.data.checks import Array, check_learnable, screen
from fedsieve.data.digits import SPLIT, digits_knn
from fedsieve.data.own import READERS
from fedsieve.data.published import amazon, planetoid
from fedsieve.data.split import MASKS, Split, random_split
from fedsieve.errors import UserError, near
from fedsieve.kinds import IMAGE_NAMES

_log = logging.getLogger("fedsieve")


DEFAULT_SPLIT = Split()


@dataclass(frozen=True)
class NamedGraph:
    """A graph known by name: `load` gives x, edge_index and y; `split` is used when none is asked for."""

    summary: str
    load: Callable[[], Data]
    split: Split = DEFAULT_SPLIT


DATASETS: dict[str, NamedGraph] = {
    "digits-knn": NamedGraph("1,797 handwritten digits and their nearest neighbours; embedded", digits_knn, SPLIT),
    "cora": NamedGraph("citations: 2,708 papers, 7 fields", planetoid("Cora")),
    "citeseer": NamedGraph("citations: 3,327 papers, 6 fields", planetoid("CiteSeer")),
    "pubmed": NamedGraph("citations: 19,717 papers on diabetes, 3 types", planetoid("PubMed")),
    "photo": NamedGraph("goods bought together: 7,650 of Amazon's photo goods, 8 kinds", amazon("Photo")),
    "computers": NamedGraph("goods bought together: 13,752 of Amazon's computer goods, 10 kinds", amazon("Computers")),
    "ogbn-arxiv": NamedGraph("citations: 169,343 arXiv papers, 40 fields; needs fedsieve[ogb]", ogbn_arxiv),
}


def load_graph(dataset: str, *, seed: int, split: Split | None = None, largest_component: bool | None = None) -> Data:
    """Return the graph of a name in `DATASETS`, or of a user's own `.npz` or `.pt` file, screened and split.

    x is float32 N x F, edge_index int64 2 x E without repeats and self-loops, y int64 N (-1: no label, in no mask),
    train_mask, val_mask and test_mask bool N, num_classes an int. Named graphs are undirected; a user's own keeps its
    directions and its features as they are.

    Without a `split` a user's own masks hold, else the data set's own fractions, else `Split()`. Without a word on
    `largest_component` named graphs are cut to it and a user's own are not.

    Raises `UserError` for an unknown name, a file that cannot be read and a graph that cannot be learnt from.
    """
    named = DATASETS.get(dataset)
    data = screen(dataset, graph_arrays(dataset))
    if largest_component or (largest_component is None and named):
        data = _largest_component(dataset, data)
    if split or MASKS[0] not in data:
        if MASKS[0] in data:
            _log.info("%s: its own masks are replaced by the split that was asked for", dataset)
        data = random_split(data, split or (named.split if named else DEFAULT_SPLIT), seed)
    check_learnable(dataset, data)
    data.num_classes = int(data.y.max()) + 1
    return data


def graph_arrays(dataset: str) -> dict[str, Array]:
    """Return a graph's arrays before anything is checked: x, edge_index, y and the masks, as far as there are any.

    Raises `UserError` for an unknown name and a file that cannot be read.
    """
    if dataset in DATASETS:
        return {key: value.numpy() for key, value in DATASETS[dataset].load().to_dict().items()}
    path = Path(os.path.expanduser(dataset))  # noqa: PTH111 - Path's own raises for a user that does not exist
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        names = [*DATASETS, *IMAGE_NAMES]
        raise UserError(
            f"dataset = {dataset!r} is unknown{near(dataset, names)}; allowed are {', '.join(names)}, the path of a "
            f"graph that ends in {' or '.join(READERS)}, and of images: a .parquet file or a folder."
        )
    if not path.is_file():
        raise UserError(f"dataset = {dataset!r}: there is no such file.")
    return reader(path)


def _largest_component(dataset: str, data: Data) -> Data:
    kept: Data = LargestConnectedComponents()(data)
    if kept.num_nodes < data.num_nodes:
        dropped, total = data.num_nodes - kept.num_nodes, data.num_nodes
        _log.info("%s: %d of %d nodes are outside the largest component and left out", dataset, dropped, total)
    return kept
