"""Graphs: data sets by name or path, and the ways to cut them into clients."""

from fedsieve.data.clients import check_clients, client_graph
from fedsieve.data.graphs import DATASETS, load_graph
from fedsieve.data.partitions import PARTITIONS, partition_nodes
from fedsieve.data.split import Split

__all__ = ["DATASETS", "PARTITIONS", "Split", "check_clients", "client_graph", "load_graph", "partition_nodes"]
