import networkx as nx
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch_geometric.utils import to_networkx

from fedsieve.data.digits import NEIGHBOURS, SPLIT, digits_knn
from fedsieve.data.graphs import DATASETS, load_graph
from fedsieve.data.split import MASKS


def test_each_digit_is_joined_to_its_nearest():
    data = digits_knn(neighbours=3)
    pixels, labels = load_digits(return_X_y=True)
    assert data.num_nodes == 1797
    assert data.y.tolist() == labels.tolist()
    assert data.is_undirected()
    assert not data.has_self_loops()
    assert data.x.min() == 0
    assert data.x.max() == 1
    for node in (0, 500, 1796):
        distance = ((pixels - pixels[node]) ** 2).sum(axis=1)
        third = np.sort(distance)[3]  # the 0th is the node itself
        joined = set(data.edge_index[1, data.edge_index[0] == node].tolist())
        assert set(np.flatnonzero(distance < third)) - {node} <= joined


def test_the_default_graph_is_connected_and_split_as_its_constants_say():
    data = load_graph("digits-knn", seed=42)
    assert nx.is_connected(to_networkx(data, to_undirected=True))
    assert DATASETS["digits-knn"].split == SPLIT
    assert int(data.train_mask.sum()) == round(SPLIT.train * data.num_nodes)
    assert sum(data[name].int() for name in MASKS).eq(1).all()
    whole = load_graph("digits-knn", seed=42, largest_component=False)
    assert whole.num_nodes == 1797
    assert torch.equal(whole.edge_index, digits_knn(NEIGHBOURS).edge_index)
