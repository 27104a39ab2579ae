"""What one client holds: the part of the graph between its own nodes."""

import logging

import numpy as np
import numpy.typing as npt
import torch
from torch_geometric.data import Data
from torch_geometric.utils import subgraph

from fedsieve.data.split import MASKS
from fedsieve.errors import UserError

_log = logging.getLogger("fedsieve")

_SHOWN = 10

_MISSING = {
    "train_mask": "they take part but do not train",
    "val_mask": "they do not count in the validation accuracy",
    "test_mask": "they do not count in the test accuracy",
}


def client_graph(data: Data, nodes: npt.NDArray[np.int64]) -> Data:
    """Return the subgraph induced by `nodes`: node i of it is `nodes[i]`, edges to other nodes are lost.

    x, y and the masks are carried over; `num_classes` stays that of the whole graph.
    """
    chosen = torch.from_numpy(nodes)
    edge_index, _ = subgraph(chosen, data.edge_index, relabel_nodes=True, num_nodes=data.num_nodes)
    carried = {name: data[name][chosen] for name in ("x", "y", *MASKS)}
    return Data(edge_index=edge_index, num_classes=data.num_classes, **carried)


def check_clients(graphs: list[Data]) -> list[int]:
    """Return the ids of the clients that have training nodes, and warn about those without nodes for one of the masks.

    Raises `UserError` when no client has training nodes, or none has validation or none has test nodes.
    """
    for name, meaning in _MISSING.items():
        lacking = [client for client, graph in enumerate(graphs) if not graph[name].any()]
        if len(lacking) == len(graphs):
            raise UserError(f"None of the {len(graphs)} clients has a node in {name}; at least one must have one.")
        if lacking:
            ids = ", ".join(map(str, lacking[:_SHOWN])) + (", ..." if len(lacking) > _SHOWN else "")
            _log.warning("%d of %d clients have no node in %s: %s; %s", len(lacking), len(graphs), name, ids, meaning)
    return [client for client, graph in enumerate(graphs) if graph.train_mask.any()]
