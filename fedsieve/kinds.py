"""What a data set's name or path holds: a graph or images. Asked often and early, so nothing heavy is imported."""

from typing import Literal

from fedsieve.catalogue import GRAPHS, IMAGES
from fedsieve.paths import expand

Kind = Literal["graph", "images"]


def tell_kind(dataset: str) -> Kind:
    """Return "images" for an image set's name, a path that ends in .parquet and a folder; "graph" for all else.

    A name goes before a file or folder of the same name.
    """
    if dataset in GRAPHS:
        return "graph"
    if dataset in IMAGES or dataset.lower().endswith(".parquet"):
        return "images"
    return "images" if dataset and expand(dataset).is_dir() else "graph"


def is_named(dataset: str) -> bool:
    """Return whether it is a published data set's name; everything else is the path of a user's own."""
    return dataset in GRAPHS or dataset in IMAGES
