"""The embedded graph: scikit-learn's handwritten digits joined to their nearest neighbours. It needs no network."""

import torch
from torch_geometric.data import Data
from torch_geometric.utils import from_scipy_sparse_matrix, to_undirected

from fedsieve.data.split import Split

NEIGHBOURS = 5
SPLIT = Split(train=0.03, val=0.35)


def digits_knn(neighbours: int = NEIGHBOURS) -> Data:
    """Return 1,797 digits as nodes: 64 pixels in [0, 1], 10 classes, edges to the `neighbours` nearest in pixel space.

    A k-d tree breaks ties between equal distances in the same way on every machine; a sort need not.
    """
    from sklearn.datasets import load_digits
    from sklearn.neighbors import NearestNeighbors

    pixels, labels = load_digits(return_X_y=True)
    nearest = NearestNeighbors(n_neighbors=neighbours, algorithm="kd_tree").fit(pixels)
    edge_index, _ = from_scipy_sparse_matrix(nearest.kneighbors_graph())
    return Data(
        x=torch.from_numpy(pixels / 16).float(),
        edge_index=to_undirected(edge_index, num_nodes=len(pixels)),
        y=torch.from_numpy(labels),
    )
