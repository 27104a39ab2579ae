"""What a data set's name or path holds: a graph or images. Asked often and early, so nothing heavy is imported."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

from fedsieve.catalogue import GRAPHS, IMAGES
from fedsieve.paths import expand
from fedsieve.user_data import call, find_clients, is_function, is_graph

PUBLISHED = ("pyg:", "hf:")
"""What the names of others' data sets begin with."""

Kind = Literal["graph", "images"]


def tell_kind(dataset: str) -> Kind:
    """Return "images" for an image set's name, a path that ends in .parquet and a folder; "graph" for all else.

    A folder that holds graphs' files, and no others' or folders, is one of graphs. A name goes before a file or folder
    of the same name. A function of the user's is called: what it returns says it.

    Raises `UserError` where that fails.
    """
    if dataset in GRAPHS or dataset.startswith("pyg:"):
        return "graph"
    if dataset.startswith("hf:"):
        return "images"
    if is_function(dataset):
        given = call(dataset)
        return "graph" if is_graph(next(iter((find_clients(given) or {"": given}).values()))) else "images"
    if dataset in IMAGES or dataset.lower().endswith(".parquet"):
        return "images"
    path = expand(dataset)
    return "images" if dataset and path.is_dir() and not _holds_graphs(path) else "graph"


def _holds_graphs(folder: Path) -> bool:
    with suppress(OSError), os.scandir(folder) as entries:
        kinds = {
            "folder" if entry.is_dir() else Path(entry.name).suffix.lower()
            for entry in entries
            if not entry.name.startswith(".")
        }
        return bool(kinds & {".npz", ".pt"}) and not kinds & {"folder", ".parquet"}
    return False


def is_named(dataset: str) -> bool:
    """Return whether it is a published data set's name; everything else is a user's own."""
    return dataset in GRAPHS or dataset in IMAGES or dataset.startswith(PUBLISHED)
