"""What one process keeps of a run between messages: the network, the trainer and each client's task."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch_geometric.data import Data

from fedsieve.algorithm import Task, Trainer, load_algorithm
from fedsieve.client.graph_task import GraphTask
from fedsieve.config import RunConfig
from fedsieve.data import Split, check_clients, client_graph, load_graph, partition_nodes
from fedsieve.data.proxy import random_proxy_graph
from fedsieve.errors import UserError
from fedsieve.models import Shape, build
from fedsieve.models.gcn import propagation


class Resident:
    """One run's clients in this process; everything is made when first asked for, and then kept."""

    def __init__(self, run: RunConfig) -> None:
        self.run = run
        self.device = choose_device(run.device)
        self._tasks: dict[int, Task] = {}
        self._trainer: Trainer | None = None
        self._proxy: Any = None

    def graph(self, client: int, node_config: Mapping[str, Any]) -> Data:
        """Return the client's subgraph: the node's own file where its config names one, else its part of the data."""
        own = node_config.get("data")
        if own is not None:
            return load_graph(str(own), seed=self.run.seed_of_data, split=split(self.run))
        return simulated_graphs(self.run)[client]

    def trainer(self, shape: Shape) -> Trainer:
        """Return the process's trainer, its network built for `shape`."""
        if self._trainer is None:
            torch.set_num_threads(1)
            algorithm = load_algorithm(self.run.algorithm)
            model = build(self.run, shape).to(self.device)
            self._trainer = algorithm.trainer(self.run, self.run.settings, model)
        return self._trainer

    def task(self, client: int, node_config: Mapping[str, Any]) -> Task:
        """Return the client's task."""
        if client not in self._tasks:
            graph = self.graph(client, node_config)
            if self._proxy is None:
                random = random_proxy_graph(graph.num_features, self.run.seed)
                self._proxy = propagation(random.x, random.edge_index, self.device)
            self._tasks[client] = GraphTask(graph, self._proxy, self.device)
        return self._tasks[client]


@lru_cache(maxsize=1)
def simulated_graphs(run: RunConfig) -> list[Data]:
    """Return all clients' subgraphs of the run's data set; every process of a simulation computes the same ones.

    Raises:
        UserError: the data set or the partition is not usable; this is where a run's data is checked.
    """
    largest = {"auto": None, "yes": True, "no": False}[run.largest_component]
    data = load_graph(run.dataset, seed=run.seed_of_data, split=split(run), largest_component=largest)
    parts = partition_nodes(
        run.partition, data, run.num_clients, seed=run.seed_of_data, clients_per_part=run.clients_per_part
    )
    graphs = [client_graph(data, nodes) for nodes in parts]
    check_clients(graphs)
    return graphs


def split(run: RunConfig) -> Split | None:
    """Return the split the run asks for, None for the data set's own."""
    return Split(train=run.train_ratio, val=run.val_ratio) if run.train_ratio > 0 else None


def choose_device(name: str) -> torch.device:
    """Return the torch device for `auto`, `cpu` or `cuda`."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device: got 'cuda', but torch finds no CUDA device here; allowed: auto or cpu.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
