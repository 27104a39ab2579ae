"""The random inputs on which clients' models are compared; nothing of any client's data is in them."""

import numpy as np
import torch
from torch_geometric.data import Data

from fedsieve import seeds

COMMUNITIES, NODES_EACH, EDGE_PROBABILITY = 5, 100, 0.1
IMAGES = 100


def random_proxy_graph(num_features: int, seed: int, edge_dim: int = 0) -> Data:
    """Return FED-PUB's random graph: 5 communities of 100 nodes, no edges between them, features N(0, 1).

    The published code draws it once with `networkx.random_partition_graph` and sends it. Here every party draws it from
    the run's seed, through a NumPy stream whose values are frozen, so that nothing needs to be sent.

    Returns:
        x 500 x num_features float32, edge_index 2 x E with both directions of each edge, and of `edge_dim` numbers
        N(0, 1) an edge, if any, edge_attr.
    """
    random = seeds.random_state(seed, "proxy graph")
    below = np.tril_indices(NODES_EACH, k=-1)
    sources, targets = [], []
    for community in range(COMMUNITIES):
        drawn = random.random_sample(below[0].size) < EDGE_PROBABILITY
        sources.append(below[0][drawn] + community * NODES_EACH)
        targets.append(below[1][drawn] + community * NODES_EACH)
    one_way = np.stack([np.concatenate(sources), np.concatenate(targets)])
    x = random.standard_normal((COMMUNITIES * NODES_EACH, num_features)).astype(np.float32)
    both_ways = np.concatenate([one_way, one_way[::-1]], axis=1)
    graph = Data(x=torch.from_numpy(x), edge_index=torch.from_numpy(both_ways))
    if edge_dim:
        drawn = random.standard_normal((one_way.shape[1], edge_dim)).astype(np.float32)
        graph.edge_attr = torch.from_numpy(np.concatenate([drawn, drawn]))
    return graph


def random_proxy_images(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Return 100 random images, float32 100 x C x H x W, pixels N(0, 1), from a frozen NumPy stream."""
    pixels = seeds.random_state(seed, "proxy images").standard_normal((IMAGES, *shape))
    return torch.from_numpy(pixels.astype(np.float32))
