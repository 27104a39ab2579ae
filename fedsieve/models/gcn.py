"""The graph convolutional network of Kipf and Welling (ICLR 2017), its constant products computed once."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn.functional import relu
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.nn.inits import glorot

from fedsieve.models.sparse import FixedMatrix

SPARSE_BELOW = 0.1
"""Below this share of non-zero features Â X is computed as a sparse product."""


@dataclass(frozen=True)
class Propagation:
    """What message passing on one graph needs: Â = D^-1/2 (A + I) D^-1/2 (N x N) and Â X (N x F), both constant.

    `mean_row` is the mean of Â's rows (N).
    """

    a_hat: FixedMatrix
    a_hat_x: FixedMatrix
    mean_row: Tensor


def propagation(x: Tensor, edge_index: Tensor, device: torch.device | None = None) -> Propagation:
    """Precompute the constant products of a graph.

    Args:
        x: node features, N x F, float32.
        edge_index: 2 x E; messages flow from row 0 to row 1, as in PyG.
        device: where the network will run; the CPU by default.
    """
    device = device or torch.device("cpu")
    n = x.shape[0]
    index, weight = gcn_norm(edge_index, num_nodes=n, dtype=x.dtype)
    a_hat = sp.csr_array((weight.numpy(), (index[1].numpy(), index[0].numpy())), shape=(n, n))
    features = x.numpy()
    sparse = np.count_nonzero(features) < SPARSE_BELOW * x.numel()
    a_hat_x = sp.csr_array(a_hat @ sp.csr_array(features)) if sparse else np.asarray(a_hat @ features)
    mean_row = torch.as_tensor(np.asarray(a_hat.mean(axis=0)).ravel(), dtype=x.dtype, device=device)
    return Propagation(FixedMatrix(a_hat, device), FixedMatrix(a_hat_x, device), mean_row)


class GraphConvolution(nn.Module):
    """One layer, Â H W + b (Kipf and Welling 2017, eq. 2, before the activation).

    The same as PyG's `GCNConv`, with its initialisers, but W is stored in_dim x out_dim, the layout in which a sparse
    product with it reads whole rows.
    """

    transposed = True
    """The weight is in x out, as torch's transposed convolutions say it."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(in_dim, out_dim))
        self.bias = nn.Parameter(torch.zeros(out_dim))
        glorot(self.weight)

    def first(self, graph: Propagation) -> Tensor:
        """Return (Â X) W + b, N x out_dim: the layer on the graph's own features."""
        return graph.a_hat_x @ self.weight + self.bias

    def forward(self, hidden: Tensor, graph: Propagation) -> Tensor:
        """Return Â (`hidden` W) + b, N x out_dim."""
        return graph.a_hat @ (hidden @ self.weight) + self.bias


class GCN(nn.Module):
    """Two graph convolutions and a linear classifier, ReLU and dropout after each convolution (FED-PUB, section 5.1).

    Args:
        num_features: F. num_classes: C. hidden_dim: width of both convolutions. dropout: probability.
    """

    def __init__(self, num_features: int, num_classes: int, hidden_dim: int = 128, dropout: float = 0.5) -> None:
        super().__init__()
        self.conv1 = GraphConvolution(num_features, hidden_dim)
        self.conv2 = GraphConvolution(hidden_dim, hidden_dim)
        self.classifier = nn.Linear(hidden_dim, num_classes)
        self.dropout = dropout

    def forward(self, graph: Propagation) -> Tensor:
        """Return the logits, N x C."""
        hidden = self._drop(relu(self.conv1.first(graph)))
        hidden = self._drop(relu(self.conv2(hidden, graph)))
        logits: Tensor = self.classifier(hidden)
        return logits

    def _drop(self, hidden: Tensor) -> Tensor:
        # Instead of torch's dropout: its Bernoulli draws take three times as long on a CPU as these uniform ones.
        if not self.training or self.dropout == 0:
            return hidden
        return hidden * ((torch.rand_like(hidden) >= self.dropout) / (1 - self.dropout))

    def embed(self, graph: Propagation) -> Tensor:
        """Return the mean over the nodes of the second convolution's output, before its ReLU, of shape hidden_dim.

        The mean is taken first: 1/N 1ᵀ(Â H W + b) = (1/N 1ᵀÂ) H W + b, a vector times a matrix.
        """
        hidden = relu(self.conv1.first(graph))
        return (graph.mean_row @ hidden) @ self.conv2.weight + self.conv2.bias
