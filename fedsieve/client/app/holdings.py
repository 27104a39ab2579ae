"""What clients hold: a subgraph or a set of images, in a simulation or on a device of their own."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch_geometric.data import Data

from fedsieve.client.app.graph_task import GraphTask
from fedsieve.client.app.image_task import ImageTask
from fedsieve.config import RunConfig
from fedsieve.contract import Shape
from fedsieve.data.checks import check_size
from fedsieve.data.clients import check_clients, client_graph
from fedsieve.data.graphs import load_graph
from fedsieve.data.image_partitions import ClientImages, check_image_clients, partition_images, split_own
from fedsieve.data.image_sets import ImageSet, load_images
from fedsieve.data.partitions import partition_nodes
from fedsieve.data.proxy import random_proxy_graph, random_proxy_images
from fedsieve.data.split import Split
from fedsieve.inputs import OF_EDGES
from fedsieve.keys import Changes, DataKeys, fields, key_of, keys_that_change
from fedsieve.kinds import Kind, tell_kind
from fedsieve.models import graph_of
from fedsieve.models.trial import ONE, Smallest

_log = logging.getLogger("fedsieve")


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

    def proxy(self, seed: int, device: torch.device) -> Any:
        """Return the random input on which functional embeddings are taken; the same for all of a run's clients."""

    def task(self, run: RunConfig, proxy: Any, device: torch.device, smallest: Smallest = ONE) -> GraphTask | ImageTask:
        """Return the client's task."""


@dataclass(frozen=True)
class Subgraph:
    """A client that holds a subgraph."""

    graph: Data

    @property
    def shape(self) -> Shape:
        """The length of a node's feature vector and of an edge's, and the classes of the whole graph."""
        return Shape((int(self.graph.num_features),), int(self.graph.num_classes), int(self.graph.num_edge_features))

    @property
    def names(self) -> tuple[str, ...]:
        """None: a graph's labels are numbers."""
        return ()

    @property
    def of_edges(self) -> tuple[str, ...]:
        """What the edges carry."""
        return tuple(name for name in OF_EDGES if name in self.graph)

    def proxy(self, seed: int, device: torch.device) -> Any:
        """Return the random graph."""
        return graph_of(random_proxy_graph(self.graph.num_features, seed, self.shape.edge_dim)).to(device)

    def task(self, run: RunConfig, proxy: Any, device: torch.device, smallest: Smallest = ONE) -> GraphTask:
        """Return node classification on the subgraph."""
        return GraphTask(self.graph, proxy, device, smallest)


@dataclass(frozen=True)
class Images:
    """A client that holds part of a set of images."""

    data: ImageSet
    part: ClientImages

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
    held = _SIMULATED[tell_kind(run.dataset)](run)
    _check_size(run.dataset, held[0])
    return held


def load_own(path: str, run: DataKeys) -> Holding:
    """Return what a device holds whose node config names a file or folder of its own."""
    held: Holding
    if tell_kind(path) == "graph":
        held = Subgraph(load_graph(path, seed=run.seed_of_data, split=_split(run), part=True))
    else:
        data = load_images(path, part=True)
        part = split_own(data, seed=run.seed_of_data, train_ratio=run.train_ratio, val_ratio=run.val_ratio)
        held = Images(data, part)
    _check_size(path, held)
    return held


def _check_size(source: str, held: Holding) -> None:
    check_size(source, held.shape.input, held.shape.num_classes)


def _cut_subgraphs(run: DataKeys) -> list[Holding]:
    largest = {"auto": None, "yes": True, "no": False}[run.largest_component]
    data = load_graph(run.dataset, seed=run.seed_of_data, split=_split(run), largest_component=largest)
    parts = partition_nodes(
        run.partition, data, run.num_clients, seed=run.seed_of_data, clients_per_part=run.clients_per_part
    )
    graphs = [client_graph(data, nodes) for nodes in parts]
    check_clients(graphs, _select_deciding_keys(run))
    return [Subgraph(graph) for graph in graphs]


def _deal_images(run: DataKeys) -> list[Holding]:
    data = load_images(run.dataset)
    parts = partition_images(
        run.partition,
        data,
        run.num_clients,
        seed=run.seed_of_data,
        alpha=run.alpha,
        classes_per_client=run.classes_per_client,
        shards_per_client=run.shards_per_client,
        examples_per_client=run.examples_per_client,
        train_ratio=run.train_ratio,
        val_ratio=run.val_ratio,
    )
    check_image_clients(parts, _select_deciding_keys(run))
    sizes = sorted(len(part.train) + len(part.val) for part in parts)
    _log.info("clients hold %d to %d images for training and validation, half of them at least %d",
              sizes[0], sizes[-1], sizes[len(sizes) // 2])  # fmt: skip
    return [Images(data, part) for part in parts]


def _select_deciding_keys(run: DataKeys) -> dict[str, object]:
    """Return the keys that decide how the data are dealt, and their values, but for rarer ones at their defaults."""
    decide = keys_that_change(Changes.DATA) - {"dataset"}
    deciding: dict[str, object] = {}
    for key, value in run.group(DataKeys).items():
        field = fields()[key]
        always = key in ("num-clients", "partition", "train-ratio", "val-ratio") or key_of(field).partition
        if key in decide and key_of(field).partition in ("", run.partition) and (always or value != field.default):
            deciding[key] = value
    return deciding


def _split(run: DataKeys) -> Split | None:
    """Return the split of a graph that the run asks for, None for the data set's own."""
    return Split(train=run.train_ratio, val=run.val_ratio) if run.train_ratio > 0 else None


_SIMULATED: dict[Kind, Callable[[DataKeys], list[Holding]]] = {"graph": _cut_subgraphs, "images": _deal_images}
