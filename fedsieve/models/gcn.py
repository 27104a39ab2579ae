"""The graph convolutional network of Kipf and Welling (ICLR 2017), its constant products computed once."""

import weakref
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn.functional import relu
from torch.utils.weak import WeakTensorKeyDictionary
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


def propagation(x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Propagation:
    """Compute the constant products of a graph, where x is.

    Args:
        x: node features, N x F, float32.
        edge_index: 2 x E; messages flow from row 0 to row 1, as in PyG.
        edge_weight: E, None: 1 each.
    """
    n, device = x.shape[0], x.device
    weight = None if edge_weight is None else edge_weight.detach().to(x.dtype).cpu()
    index, weight = gcn_norm(edge_index.cpu(), weight, n, dtype=x.dtype)
    a_hat = sp.csr_array((weight.numpy(), (index[1].numpy(), index[0].numpy())), shape=(n, n))
    features = x.detach().cpu().numpy()
    sparse = np.count_nonzero(features) < SPARSE_BELOW * x.numel()
    a_hat_x = sp.csr_array(a_hat @ sp.csr_array(features)) if sparse else np.asarray(a_hat @ features)
    mean_row = torch.as_tensor(np.asarray(a_hat.mean(axis=0)).ravel(), dtype=x.dtype, device=device)
    return Propagation(FixedMatrix(a_hat, device), FixedMatrix(a_hat_x, device), mean_row)


@dataclass(frozen=True)
class _Known:
    """The products of the graph whose features are a key of `_KNOWN`, and of which edges and versions they are."""

    edges: tuple[Callable[[], Tensor | None], ...]
    versions: tuple[int, ...]
    products: Propagation


_KNOWN: MutableMapping[Tensor, _Known] = WeakTensorKeyDictionary()
"""By a graph's features: a client's graph is the same tensors in every round, and its products go when these do."""


def find_products(x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Propagation:
    """Return the constant products of a graph, computed the first time that these very tensors are given."""
    edges = (edge_index,) if edge_weight is None else (edge_index, edge_weight)
    versions = tuple(-1 if tensor.is_inference() else tensor._version for tensor in (x, *edges))
    known = _KNOWN.get(x)
    if (
        known is not None
        and known.versions == versions
        and all(before() is tensor for before, tensor in zip(known.edges, edges, strict=True))
    ):
        return known.products
    products = propagation(x, edge_index, edge_weight)
    _KNOWN[x] = _Known(tuple(weakref.ref(tensor) for tensor in edges), versions, products)
    return products


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
    """Graph convolutions and a linear classifier, ReLU and dropout after each convolution (FED-PUB, section 5.1).

    Args:
        num_features: F. num_classes: C. hidden_dim: width of the convolutions. dropout: probability.
        num_layers: number of convolutions.
    """

    def __init__(
        self, num_features: int, num_classes: int, hidden_dim: int = 128, dropout: float = 0.5, num_layers: int = 2
    ) -> None:
        super().__init__()
        self.num_layers, self.dropout = num_layers, dropout
        for number in range(1, num_layers + 1):
            incoming = num_features if number == 1 else hidden_dim
            self.add_module(f"conv{number}", GraphConvolution(incoming, hidden_dim))
        self.classifier = nn.Linear(hidden_dim, num_classes)

    @property
    def convolutions(self) -> list[GraphConvolution]:
        """The convolutions, in order."""
        return [cast("GraphConvolution", getattr(self, f"conv{1 + place}")) for place in range(self.num_layers)]

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Return the logits, N x C."""
        graph = find_products(x, edge_index, edge_weight)
        first, *others = self.convolutions
        hidden = self._drop(relu(first.first(graph)))
        for convolution in others:
            hidden = self._drop(relu(convolution(hidden, graph)))
        logits: Tensor = self.classifier(hidden)
        return logits

    def _drop(self, hidden: Tensor) -> Tensor:
        # Instead of torch's dropout: its Bernoulli draws take three times as long on a CPU as these uniform ones.
        if not self.training or self.dropout == 0:
            return hidden
        return hidden * ((torch.rand_like(hidden) >= self.dropout) / (1 - self.dropout))

    def embed(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Return the mean over the nodes of the last convolution's output, before its ReLU, of shape hidden_dim.

        The mean is taken first: 1/N 1ᵀ(Â H W + b) = (1/N 1ᵀÂ) H W + b, a vector times a matrix.
        """
        graph = find_products(x, edge_index, edge_weight)
        first, *others = self.convolutions
        if not others:
            return first.first(graph).mean(0)
        hidden = relu(first.first(graph))
        for convolution in others[:-1]:
            hidden = relu(convolution(hidden, graph))
        return (graph.mean_row @ hidden) @ others[-1].weight + others[-1].bias
