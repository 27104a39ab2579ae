"""What a data set's name or path holds: a graph or images. Asked often and early, so nothing heavy is imported."""

import os
from pathlib import Path
from typing import Literal

Kind = Literal["graph", "images"]

GRAPH_NAMES = ("digits-knn", "cora", "citeseer", "pubmed", "photo", "computers", "ogbn-arxiv")
IMAGE_NAMES = ("digits", "mnist", "cifar10", "fashion-mnist", "emnist")


def kind_of(dataset: str) -> Kind:
    """Return "images" for an image set's name, a path that ends in .parquet and a folder; "graph" for all else.

    A name goes before a folder of the same name.
    """
    if dataset in IMAGE_NAMES or dataset.lower().endswith(".parquet"):
        return "images"
    if not dataset or not Path(os.path.expanduser(dataset)).is_dir():  # noqa: PTH111 - Path's own raises for a user that does not exist
        return "graph"
    return "graph" if dataset in GRAPH_NAMES else "images"
