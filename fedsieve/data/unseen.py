"""Data that a trained model is to predict: prepared as in training, but none of it needs a label."""

import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedsieve.data.checks import screen
from fedsieve.data.decoding import decode
from fedsieve.data.graphs import DATASETS, graph_arrays
from fedsieve.data.hub import PREFIX as HUB
from fedsieve.data.image_sets import IMAGE_DATASETS, load_images
from fedsieve.data.labels import flatten_labels, to_words
from fedsieve.data.own_images import FIND, Columns, Table, find, list_loose, read_contents
from fedsieve.data.sparse_features import to_dense
from fedsieve.data.torch_sets import read_dataset
from fedsieve.errors import UserError, suggest
from fedsieve.inputs import OF_EDGES
from fedsieve.kinds import Kind, is_named, tell_kind
from fedsieve.paths import expand
from fedsieve.user_data import call, is_function

_log = logging.getLogger("fedsieve")

UNKNOWN = -1


@dataclass(frozen=True)
class Unseen:
    """Data to be predicted.

    Attributes:
        examples: node features N x F, float32, or images N x C x H x W, uint8.
        edge_index: 2 x E of a graph, None of images.
        labels: int64 N, of the model's classes; `UNKNOWN` where there is none.
        places: where each example is: a node's number, a row's number or a file's path.
        of_edges: edge_weight and edge_attr of a graph, as far as it has them.
    """

    examples: Tensor
    edge_index: Tensor | None
    labels: Tensor
    places: Sequence[str]
    of_edges: Mapping[str, Tensor] = field(default_factory=dict)


def load_unseen(
    source: str,
    input_shape: tuple[int, ...],
    classes: Sequence[str],
    *,
    named: bool,
    undirected: bool = False,
    columns: Columns = FIND,
) -> Unseen:
    """Return the data of a name or path, for a model that takes examples of `input_shape` and knows `classes`.

    A graph keeps all its nodes: it is cut to no component. Grey images are repeated for a model that takes colour.

    Args:
        source: as `dataset` names data; labels may be missing, and a folder may hold images without folders of classes.
        input_shape: (F,) for a graph, (C, H, W) for images.
        classes: the names of the classes, or their numbers.
        named: whether they are names; else labels count by number.
        undirected: whether a graph's edges are to count in both directions.
        columns: of parquet files, those of the images and the labels, where they have them.

    Raises:
        UserError: there is no such data, they cannot be read, are of the other kind or their examples of another shape.
    """
    kind: Kind = "graph" if len(input_shape) == 1 else "images"
    path = expand(source)
    names = [*DATASETS, *IMAGE_DATASETS]
    if not is_named(source) and not is_function(source) and not path.exists():
        raise UserError(
            f"{source}: there is no such file{suggest(source, names)}; allowed: one, or {', '.join(names)}."
        )
    if tell_kind(source) != kind:
        given, taken = ("images", "a graph") if kind == "graph" else ("a graph", "images")
        raise UserError(f"{source}: holds {given}, allowed: {taken}, which is what the run's models take.")
    unseen = (
        _read_graph(source, classes, named, undirected)
        if kind == "graph"
        else _read_images(source, path, classes, named, columns)
    )
    examples = unseen.examples
    if kind == "images" and examples.shape[1] == 1 and input_shape[0] > 1:
        examples = examples.expand(-1, input_shape[0], -1, -1)
    if (shape := tuple(examples.shape[1:])) != input_shape:
        noun = "a node's features" if kind == "graph" else "an image"
        sizes = [" x ".join(f"{length:,}" for length in lengths) for lengths in (shape, input_shape)]
        raise UserError(f"{source}: {noun} is of size {sizes[0]}, allowed: {sizes[1]}, which the run's models take.")
    if odd := int((unseen.labels < UNKNOWN).sum()):
        _log.warning("%s: %d labels are none of the model's classes and do not count", source, odd)
    return replace(unseen, examples=examples, labels=unseen.labels.clamp(min=UNKNOWN))


_ODD = UNKNOWN - 1
"""A label that is there, but of no class that the model knows."""


def _read_graph(source: str, classes: Sequence[str], named: bool, undirected: bool) -> Unseen:
    arrays = graph_arrays(source)
    given = arrays.get("y")
    if given is None and "x" in arrays and arrays["x"].ndim:
        given = np.full(arrays["x"].shape[0], UNKNOWN)
    bare: dict[str, Any] = {key: arrays[key] for key in ("x", "edge_index", *OF_EDGES) if key in arrays}
    if given is not None:
        given = flatten_labels(source, given) if given.ndim == 2 else given
        plain = given.ndim == 1 and given.dtype.kind in "biufUSO"
        bare["y"] = np.full(given.shape, UNKNOWN) if plain else given  # a label is no reason to refuse a graph here
    graph = screen(source, bare, part=True, undirected=undirected)
    assert given is not None
    file_names = to_words(arrays["class_names"]) if "class_names" in arrays else []
    if given.dtype.kind in "USO":
        values: list[Any] = [word or UNKNOWN for word in to_words(given)]
    else:
        values = [int(label) if math.isfinite(label) and label == int(label) else label for label in given.tolist()]
    labels = _number_labels(values, file_names, classes, named)
    of_edges = {name: graph[name] for name in OF_EDGES if name in graph}
    return Unseen(to_dense(graph.x), graph.edge_index, labels, describe_range(len(labels)), of_edges)


def _number_labels(values: Sequence[Any], file_names: Sequence[str], classes: Sequence[str], named: bool) -> Tensor:
    """Return each node's class: of numbers that were classes' names in training, by that, else see below."""
    if not named or file_names or not all(re.fullmatch(r"-?\d+", name) for name in classes):
        return _number_classes(values, file_names, classes, named)
    return _number_classes([_as_name(value) for value in values], (), classes, named)


def _as_name(value: Any) -> Any:
    return str(value) if isinstance(value, int) and value != UNKNOWN else value


def _read_images(source: str, path: Path, classes: Sequence[str], named: bool, columns: Columns) -> Unseen:
    if is_named(source) or is_function(source):
        of_hub = columns if source.startswith(HUB) else FIND
        data = load_images(source, columns=of_hub) if is_named(source) else read_dataset(source, call(source))
        labels = _number_classes(data.labels.tolist(), data.names, classes, named)
        return Unseen(data.images, None, labels, describe_range(len(labels)))
    if files := list_loose(path):
        images = torch.from_numpy(decode(len(files), read_contents(files)))
        return Unseen(images, None, torch.full((len(files),), UNKNOWN), [file.name for file in files])
    image_files = find(path)
    image_files.log_ignored()
    paths = (*image_files.train, *image_files.test)
    if image_files.folders:
        labels = _number_classes([file.parent.name for file in paths], (), classes, named)
        images = torch.from_numpy(decode(len(paths), read_contents(paths)))
        return Unseen(images, None, labels, [file.relative_to(path).as_posix() for file in paths])
    tables = [Table.open(file, columns, labelled=False) for file in paths]
    labels = torch.cat([_number_classes(table.labels_as_given(), table.names, classes, named) for table in tables])
    images = torch.from_numpy(decode(len(labels), (image for table in tables for image in table.images())))
    if len(tables) == 1:
        return Unseen(images, None, labels, describe_range(len(labels)))
    places = [f"{table.path.name}:{row}" for table in tables for row in range(table.num_rows)]
    return Unseen(images, None, labels, places)


def _number_classes(given: Sequence[Any], given_names: Sequence[str], classes: Sequence[str], named: bool) -> Tensor:
    """Return each label's number among the model's classes: by its name where both have names, else by its number."""
    number = {name: index for index, name in enumerate(classes)}

    def index(label: Any) -> int:
        if label is None or label == UNKNOWN:
            return UNKNOWN
        if isinstance(label, str):
            return number.get(label, _ODD)
        if named and given_names:
            return number.get(given_names[label], _ODD) if 0 <= label < len(given_names) else _ODD
        return _number(label, len(classes))

    return torch.tensor([index(label) for label in given])


def _number(label: Any, num_classes: int) -> int:
    if label == UNKNOWN or not math.isfinite(label):
        return UNKNOWN
    return int(label) if label == int(label) and 0 <= label < num_classes else _ODD


def describe_range(count: int) -> list[str]:
    """Return the numbers below `count` as words."""
    return [str(number) for number in range(count)]
