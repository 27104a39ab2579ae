"""What one client holds: the part of the graph between its own nodes."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch_geometric.data import Data
from torch_geometric.utils import subgraph

from fedsieve.data.lacking import check_parts
from fedsieve.data.sparse_features import take_rows
from fedsieve.data.split import MASKS
from fedsieve.inputs import OF_EDGES


def client_graph(data: Data, nodes: npt.NDArray[np.int64]) -> Data:
    """Return the subgraph induced by `nodes`: node i of it is `nodes[i]`, edges to other nodes are lost.

    x, y and the masks are carried over, x sparse if it is, as is what its edges carry; the classes stay those of the
    whole graph.
    """
    chosen = torch.from_numpy(nodes)
    edge_index, _, inside = subgraph(
        chosen, data.edge_index, relabel_nodes=True, num_nodes=data.num_nodes, return_edge_mask=True
    )
    carried = {name: data[name][chosen] for name in ("y", *MASKS)} | {"x": take_rows(data.x, chosen)}
    carried |= {name: data[name][inside] for name in OF_EDGES if name in data}
    names = data.to_dict().get("class_names", ())
    return Data(edge_index=edge_index, num_classes=data.num_classes, class_names=names, **carried)


def check_clients(graphs: Sequence[Data], given: Mapping[str, object]) -> None:
    """Warn about clients without nodes for training, validation or testing; `given`: the keys that decide it.

    Raises `UserError` when no client has any.
    """
    check_parts("nodes", [tuple(int(graph[name].sum()) for name in MASKS) for graph in graphs], given)
