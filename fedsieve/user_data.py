"""A user's own function that returns data, by its dotted path: `my_data:load`."""

import importlib
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from fedsieve.errors import UserError, one_line

FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
OTHERS = ("pyg:", "hf:")

USES = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "test": 2, "testing": 2}
"""What a split is for, by its name: 0 training, 1 validation, 2 testing."""


def is_function(dataset: str) -> bool:
    """Return whether a data set is named by a function."""
    return FUNCTION.fullmatch(dataset) is not None and not dataset.startswith(OTHERS)


def call(dataset: str) -> Any:
    """Return what the function returns; a process calls it once. A module in the present folder is found too.

    Raises:
        UserError: it cannot be imported, or fails.
    """
    return _call(dataset, str(Path.cwd()))


def find_clients(given: Any) -> dict[str, Any] | None:
    """Return each client's data by its name, of a list of them or a mapping by name; None of what is one data set.

    A mapping of splits, such as `train` and `test`, is one set.
    """
    if isinstance(given, list | tuple) and any(map(is_graph, given)):
        for number, one in enumerate(given):
            if not is_graph(one):
                what = f"item {number} of the list is a {type(one).__name__}"
                raise UserError(f"dataset: {what}, allowed: a graph, as the others are.")
    if isinstance(given, list | tuple) and given and all(map(_is_set, given)):
        return {str(number): one for number, one in enumerate(given)}
    if isinstance(given, Mapping) and given and not is_graph(given) and not is_split(given):
        return {str(name): one for name, one in given.items()}
    return None


def is_graph(given: Any) -> bool:
    """Return whether an object is a PyG Data or a mapping of a graph's arrays."""
    keys = given if isinstance(given, Mapping) else dir(given)
    return any(key in keys for key in ("edge_index", "adj", "adj_t", "edges"))


def is_split(given: Any) -> bool:
    """Return whether an object is a mapping of the splits of one set of images."""
    return isinstance(given, Mapping) and bool(given) and all(str(key).lower() in USES for key in given)


def _is_set(given: Any) -> bool:
    if isinstance(given, tuple) or (
        isinstance(given, list) and not all(isinstance(one, tuple | list) for one in given)
    ):
        return False  # an example: (image, label)
    return is_graph(given) or is_split(given) or (hasattr(given, "__getitem__") and hasattr(given, "__len__"))


def forget_calls() -> None:
    """Have functions called again that have been called."""
    _call.cache_clear()


@lru_cache(maxsize=2)
def _call(dataset: str, folder: str) -> Any:
    module, _, name = dataset.partition(":")
    if folder not in sys.path:
        sys.path.append(folder)  # at the end, where it hides no package
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # a module may raise anything
        raise UserError(f"dataset: got {dataset!r}, but it cannot be imported: {one_line(error)}.") from error
    try:
        given = function()
    except UserError:
        raise
    except Exception as error:  # it is the user's own code
        raise UserError(
            f"dataset: got {dataset!r}, but it fails: {type(error).__name__}: {one_line(error)}."
        ) from error
    pyg = sys.modules.get("torch_geometric.data")  # imported by whoever returns one of its sets
    if pyg is not None and isinstance(given, pyg.Dataset) and len(given) == 1:
        given = given[0]
    if given is None or isinstance(given, str | bytes | int | float):
        raise UserError(
            f"dataset: got {dataset!r}, which returns a {type(given).__name__}, allowed: a PyG Data, a torch Dataset "
            "of images and labels, a mapping of its splits, or a list of these, one a client."
        )
    return given
