"""What clients hold: a subgraph or a set of images, in a simulation or on a device of their own."""

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch_geometric.data import Data

from fedsieve.client.app.graph_task import GraphTask
from fedsieve.client.app.image_task import ImageTask
from fedsieve.config import RunConfig
from fedsieve.contract import Shape
from fedsieve.data.alike import check_classes, check_inputs
from fedsieve.data.checks import check_size
from fedsieve.data.clients import check_clients, client_graph
from fedsieve.data.given import lie_apart, list_given
from fedsieve.data.graphs import load_graph
from fedsieve.data.image_partitions import (
    ClientImages,
    check_image_clients,
    partition_images,
    split_held,
    split_own,
)
from fedsieve.data.image_sets import ImageSet, load_images
from fedsieve.data.labels import log_order
from fedsieve.data.lacking import check_parts
from fedsieve.data.own_images import Columns
from fedsieve.data.partitions import partition_nodes
from fedsieve.data.proxy import random_proxy_graph, random_proxy_images
from fedsieve.data.sparse_features import to_dense
from fedsieve.data.split import MASKS, Split
from fedsieve.data.torch_sets import read_dataset
from fedsieve.errors import UserError
from fedsieve.inputs import OF_EDGES
from fedsieve.keys import Changes, DataKeys, fields, key_of, keys_that_change
from fedsieve.kinds import Kind, tell_kind
from fedsieve.models import graph_of
from fedsieve.models.trial import ONE, Smallest
from fedsieve.user_data import call, find_clients, forget_calls, is_function

_log = logging.getLogger("fedsieve")

GIVEN = "given"


class Holding(Protocol):
    """One client's data, as they are before a network and a device are known."""

    @property
    def shape(self) -> Shape:
        """What the data decide about a network."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the first classes; empty where the labels are only numbers."""

    @property
    def of_edges(self) -> tuple[str, ...]:
        """What a graph's edges carry, of `fedsieve.inputs.OF_EDGES`."""

    @property
    def client(self) -> str:
        """What the data call the client; "" where it is only a number."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """Number of examples for training, validation and testing."""

    def count_labels(self) -> list[int]:
        """Return how many examples of each class the client holds."""

    def proxy(self, seed: int, device: torch.device) -> Any:
        """Return the random input on which functional embeddings are taken; the same for all of a run's clients."""

    def task(self, run: RunConfig, proxy: Any, device: torch.device, smallest: Smallest = ONE) -> GraphTask | ImageTask:
        """Return the client's task."""


@dataclass(frozen=True)
class Subgraph:
    """A client that holds a subgraph, whose features may be sparse."""

    graph: Data
    client: str = ""

    @property
    def shape(self) -> Shape:
        """The length of a node's feature vector and of an edge's, and the classes of the whole graph."""
        return Shape((int(self.graph.num_features),), int(self.graph.num_classes), int(self.graph.num_edge_features))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the graph's classes."""
        return tuple(self.graph.to_dict().get("class_names", ()))

    @property
    def counts(self) -> tuple[int, int, int]:
        """Number of nodes for training, validation and testing."""
        train, val, test = (int(self.graph[name].sum()) for name in MASKS)
        return train, val, test

    def count_labels(self) -> list[int]:
        """Return how many nodes of each class the client holds, those without a use among them."""
        labelled = self.graph.y[self.graph.y >= 0]
        return torch.bincount(labelled, minlength=self.shape.num_classes).tolist()

    @property
    def of_edges(self) -> tuple[str, ...]:
        """What the edges carry."""
        return tuple(name for name in OF_EDGES if name in self.graph)

    def proxy(self, seed: int, device: torch.device) -> Any:
        """Return the random graph."""
        return graph_of(random_proxy_graph(self.graph.num_features, seed, self.shape.edge_dim)).to(device)

    def task(self, run: RunConfig, proxy: Any, device: torch.device, smallest: Smallest = ONE) -> GraphTask:
        """Return node classification on the subgraph."""
        graph = copy.copy(self.graph)
        graph.x = to_dense(graph.x)
        return GraphTask(graph, proxy, device, smallest)


@dataclass(frozen=True)
class Images:
    """A client that holds part of a set of images."""

    data: ImageSet
    part: ClientImages
    client: str = ""

    @property
    def shape(self) -> Shape:
        """The shape of an image, and the classes of the whole set."""
        return Shape(tuple(self.data.images.shape[1:]), self.data.num_classes)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the set's classes."""
        return self.data.names

    @property
    def of_edges(self) -> tuple[str, ...]:
        """Nothing: there are none."""
        return ()

    @property
    def counts(self) -> tuple[int, int, int]:
        """Number of images for training, validation and testing."""
        return len(self.part.train), len(self.part.val), len(self.part.test)

    def count_labels(self) -> list[int]:
        """Return how many images of each class the client holds."""
        held = np.concatenate([self.part.train, self.part.val, self.part.test])
        counts = torch.bincount(self.data.labels[torch.from_numpy(held)], minlength=self.data.num_classes)
        return counts.tolist()

    def proxy(self, seed: int, device: torch.device) -> Any:
        """Return the random images."""
        return random_proxy_images(self.shape.input, seed).to(device)

    def task(self, run: RunConfig, proxy: Any, device: torch.device, smallest: Smallest = ONE) -> ImageTask:
        """Return classification of the client's images."""
        return ImageTask(self.data, self.part, proxy, run.batch_size, device, smallest)


@lru_cache(maxsize=1)
def deal_simulated(run: RunConfig) -> list[Holding]:
    """Return what each client of a simulation holds; every process computes the same.

    Raises:
        UserError: the data set or the partition is not usable; this is where a run's data is checked.
    """
    kind = tell_kind(run.dataset)
    deal = _read_clients if run.partition == GIVEN and lie_apart(run.dataset) else _SIMULATED[kind]
    held = deal(run)
    _check_size(run.dataset, held[0])
    return held


def forget_data() -> None:
    """Forget what has been read for earlier runs of this process: the files may have changed since."""
    deal_simulated.cache_clear()
    forget_calls()


def load_own(path: str, run: DataKeys) -> Holding:
    """Return what a device holds whose node config names a file or folder of its own."""
    held = _load_own(path, run, tell_kind(path))
    for part, count in zip(("training", "validation", "testing"), held.counts, strict=True):
        if not count:
            _log.warning("%s: holds no example for %s", path, part)
    return held


def _load_own(path: str, run: DataKeys, kind: Kind, client: str = "", given: Any = None) -> Holding:
    held: Holding
    if kind == "graph":
        held = Subgraph(load_graph(path, part=True, given=given, **_of_graphs(run)), client)
    else:
        data = load_images(path, part=True, columns=_columns(run)) if given is None else read_dataset(path, given)
        part = split_own(data, seed=run.seed_of_data, train_ratio=run.train_ratio, val_ratio=run.val_ratio)
        held = Images(data, part, client)
    _check_size(path, held)
    return held


def _read_clients(run: DataKeys) -> list[Holding]:
    """Return what the clients hold whose data lie in files of their own, each as on a device."""
    files, kind = list_given(run.dataset), tell_kind(run.dataset)
    _check_number(run, len(files))
    if run.examples_per_client:
        given = f"examples-per-client: got {run.examples_per_client} with partition = {run.partition!r}"
        raise UserError(f"{given} of files, allowed: 0.")
    held = [_load_own(str(file.path), run, kind, file.name, file.given) for file in files]
    places = [file.path for file in files]
    noun = "a node's features" if isinstance(held[0], Subgraph) else "an image"
    check_inputs(places, [one.shape for one in held], noun)
    held = _number_alike(run.dataset, held)
    check_classes(places, [one.names for one in held])
    num_classes = max(one.shape.num_classes for one in held)
    if num_classes < 2:
        raise UserError(f"{run.dataset}: all clients' examples are of one class; classification needs at least 2.")
    names = max((one.names for one in held), key=len)
    whole = [_with_classes(one, num_classes, names) for one in held]
    noun = "nodes" if isinstance(held[0], Subgraph) else "images"
    check_parts(noun, [one.counts for one in whole], _select_deciding_keys(run), [one.client for one in whole])
    return whole


def _number_alike(source: str, held: Sequence[Holding]) -> list[Holding]:
    """Return graphs whose labels are bare numbers that do not begin at 0, or have gaps, with the same classes for all.

    A file alone cannot say whether another has the classes that it lacks; all of them together can.
    """
    graphs = [one.graph for one in held if isinstance(one, Subgraph)]
    if len(graphs) < len(held) or any(graph.declares_classes for graph in graphs):
        return list(held)
    labels = torch.unique(torch.cat([graph.y for graph in graphs]))
    labels = labels[labels >= 0]
    if labels.equal(torch.arange(len(labels))):
        return list(held)
    names = tuple(str(label) for label in labels.tolist())
    log_order(source, names)
    numbered: list[Holding] = []
    for one, graph in zip(held, map(copy.copy, graphs), strict=True):
        graph.y = torch.where(graph.y < 0, -1, torch.searchsorted(labels, graph.y))
        graph.num_classes, graph.class_names = len(names), names
        numbered.append(Subgraph(graph, one.client))
    return numbered


def _with_classes(held: Holding, num_classes: int, names: tuple[str, ...]) -> Holding:
    """Return the same data with the classes that all clients have together."""
    if isinstance(held, Images):
        return Images(replace(held.data, num_classes=num_classes, names=names), held.part, held.client)
    assert isinstance(held, Subgraph)
    graph = copy.copy(held.graph)
    graph.num_classes, graph.class_names = num_classes, names
    return Subgraph(graph, held.client)


def _check_number(run: DataKeys, count: int) -> None:
    """Raise a `UserError` unless the run has as many clients as the data say."""
    if run.num_clients != count:
        what = f"as many as {run.dataset} has" + (f" by {run.holder_column}" if run.partition != GIVEN else "")
        raise UserError(f"num-clients: got {run.num_clients}, allowed: {count}, {what}; left open it is that.")


def _columns(run: DataKeys) -> Columns:
    return Columns(run.image_column, run.label_column)


def _of_graphs(run: DataKeys) -> dict[str, Any]:
    """Return what a graph is read with.

    Raises `UserError` for the columns of images.
    """
    for key, name in (("image-column", run.image_column), ("label-column", run.label_column)):
        if name:
            raise UserError(f"{key}: got {name!r} with a graph, allowed: with .parquet files, or hf:OWNER/NAME.")
    largest = {"auto": None, "yes": True, "no": False}[run.largest_component]
    return {
        "seed": run.seed_of_data,
        "split": _split(run),
        "largest_component": largest,
        "number": run.split,
        "undirected": run.undirected,
    }


def _check_size(source: str, held: Holding) -> None:
    check_size(source, held.shape.input, held.shape.num_classes)


def _cut_subgraphs(run: DataKeys) -> list[Holding]:
    data = load_graph(run.dataset, column=run.holder_column, **_of_graphs(run))
    if run.holder_column:
        names = data.client_names
        _check_number(run, len(names))
        parts = [np.flatnonzero(data.client.numpy() == client) for client in range(len(names))]
        _check_held(run, names, parts)
    else:
        names = ("",) * run.num_clients
        parts = partition_nodes(
            run.partition,
            data,
            run.num_clients,
            seed=run.seed_of_data,
            clients_per_part=run.clients_per_part,
            alpha=run.alpha,
        )
    graphs = [client_graph(data, nodes) for nodes in parts]
    check_clients(graphs, _select_deciding_keys(run))
    return [Subgraph(graph, name) for graph, name in zip(graphs, names, strict=True)]


def _check_held(run: DataKeys, names: Sequence[str], parts: Sequence[Any]) -> None:
    """Raise a `UserError` for a client that holds nothing, because its nodes are outside the largest component."""
    if empty := [name for name, nodes in zip(names, parts, strict=True) if not len(nodes)]:
        raise UserError(
            f"largest-component: got {run.largest_component!r}, which leaves the client {empty[0]} without a node, "
            "allowed: 'no'."
        )


def _load_images(run: DataKeys) -> ImageSet:
    if not is_function(run.dataset):
        return load_images(run.dataset, column=run.holder_column, columns=_columns(run))
    given = call(run.dataset)
    if (clients := find_clients(given)) is not None or run.holder_column:
        what = f"the data of {len(clients)} clients" if clients is not None else "images without columns"
        allowed = "with partition = 'given'" if clients is not None else "with a partition that deals them"
        raise UserError(f"dataset: got {run.dataset!r}, which returns {what}, allowed: {allowed}.")
    return read_dataset(run.dataset, given)


def _deal_images(run: DataKeys) -> list[Holding]:
    data = _load_images(run)
    ratios = {"train_ratio": run.train_ratio, "val_ratio": run.val_ratio}
    if data.holders is not None:
        names = data.holders.names
        _check_number(run, len(names))
        parts = split_held(data, seed=run.seed_of_data, examples_per_client=run.examples_per_client, **ratios)
    else:
        names = ("",) * run.num_clients
        parts = partition_images(
            run.partition,
            data,
            run.num_clients,
            seed=run.seed_of_data,
            alpha=run.alpha,
            classes_per_client=run.classes_per_client,
            shards_per_client=run.shards_per_client,
            examples_per_client=run.examples_per_client,
            **ratios,
        )
    check_image_clients(parts, _select_deciding_keys(run))
    sizes = sorted(len(part.train) + len(part.val) for part in parts)
    _log.info("clients hold %d to %d images for training and validation, half of them at least %d",
              sizes[0], sizes[-1], sizes[len(sizes) // 2])  # fmt: skip
    return [Images(data, part, name) for part, name in zip(parts, names, strict=True)]


def _select_deciding_keys(run: DataKeys) -> dict[str, object]:
    """Return the keys that decide how the data are dealt, and their values, but for rarer ones at their defaults."""
    decide = keys_that_change(Changes.DATA) - {"dataset"}
    deciding: dict[str, object] = {}
    for key, value in run.group(DataKeys).items():
        field = fields()[key]
        always = key in ("num-clients", "partition", "train-ratio", "val-ratio") or key_of(field).partitions
        if key in decide and key_of(field).is_read_by(run.partition) and (always or value != field.default):
            deciding[key] = value
    return deciding


def _split(run: DataKeys) -> Split | None:
    """Return the split of a graph that the run asks for, None for the data set's own."""
    return Split(train=run.train_ratio, val=run.val_ratio) if run.train_ratio > 0 else None


_SIMULATED: dict[Kind, Callable[[DataKeys], list[Holding]]] = {"graph": _cut_subgraphs, "images": _deal_images}
