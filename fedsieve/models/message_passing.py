"""The built-in graph networks that are PyG's own models, or its layers in a row."""

from math import gcd

from torch import Tensor, nn
from torch_geometric.nn import APPNP, GAT, GIN, MLP, GraphSAGE, SGConv

from fedsieve.config import RunConfig
from fedsieve.contract import Shape

HEADS = 8
"""Heads of an attention layer (Veličković et al., ICLR 2018), or as many as divide its width and this."""


def make_sage(shape: Shape, run: RunConfig) -> nn.Module:
    """Return GraphSAGE with mean aggregation, the last layer of which gives the logits."""
    model: nn.Module = GraphSAGE(shape.input[0], run.hidden_dim, run.num_layers, shape.num_classes, run.dropout)
    return model


def make_gat(shape: Shape, run: RunConfig) -> nn.Module:
    """Return a graph attention network; the last layer's heads, whose mean is the logits, are as many as the others'.

    Attention depends on `edge_attr` too where the data have it.
    """
    model: nn.Module = GAT(
        shape.input[0],
        run.hidden_dim,
        run.num_layers,
        shape.num_classes,
        run.dropout,
        heads=gcd(HEADS, run.hidden_dim),
        edge_dim=shape.edge_dim or None,
    )
    return model


def make_gin(shape: Shape, run: RunConfig) -> nn.Module:
    """Return a graph isomorphism network and a linear classifier."""
    model: nn.Module = GIN(shape.input[0], run.hidden_dim, run.num_layers, shape.num_classes, run.dropout, jk="last")
    return model


class Appnp(nn.Module):
    """A perceptron, whose logits are passed on by personalised PageRank (Gasteiger et al., ICLR 2019).

    Args:
        shape: of the data.
        run: its hidden-dim, num-layers and dropout are the perceptron's.
    """

    STEPS, TELEPORT = 10, 0.1

    def __init__(self, shape: Shape, run: RunConfig) -> None:
        super().__init__()
        self.perceptron = MLP(
            in_channels=shape.input[0],
            hidden_channels=run.hidden_dim,
            out_channels=shape.num_classes,
            num_layers=run.num_layers,
            dropout=run.dropout,
            norm=None,
        )
        self.passing = APPNP(self.STEPS, self.TELEPORT)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Return the logits, N x C."""
        logits: Tensor = self.passing(self.perceptron(x), edge_index, edge_weight)
        return logits


class Sgc(nn.Module):
    """A linear classifier of features that have been averaged `num-layers` times (Wu et al., ICML 2019).

    Args:
        shape: of the data.
        run: it has no hidden layer, so neither its width nor dropout count.
    """

    def __init__(self, shape: Shape, run: RunConfig) -> None:
        super().__init__()
        self.convolution = SGConv(shape.input[0], shape.num_classes, run.num_layers)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Return the logits, N x C."""
        logits: Tensor = self.convolution(x, edge_index, edge_weight)
        return logits
