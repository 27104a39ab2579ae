"""What a network is called with: a tensor of images, or a graph and what its edges carry."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

OF_EDGES = ("edge_weight", "edge_attr")
"""What a network's `forward` is given besides x and edge_index if it asks for it by name, as PyG's layers do."""


@dataclass(frozen=True)
class Graph:
    """A graph as PyG's layers take it.

    Attributes:
        x: node features, N x F.
        edge_index: 2 x E; messages pass from row 0 to row 1.
        edge_weight: E, None: 1 each.
        edge_attr: E x D, or None.
    """

    x: Tensor
    edge_index: Tensor
    edge_weight: Tensor | None = None
    edge_attr: Tensor | None = None

    def double(self) -> "Graph":
        """Return the graph in float64."""
        return self._map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)

    def to(self, device: torch.device) -> "Graph":
        """Return the graph on a device, the same tensors where they are there."""
        return self._map(lambda tensor: tensor.to(device))

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Graph":
        weight, attr = (None if given is None else change(given) for given in (self.edge_weight, self.edge_attr))
        return Graph(change(self.x), change(self.edge_index), weight, attr)


def run_network(network: nn.Module, inputs: Any) -> Any:
    """Return what a network gives for a tensor, or for a `Graph`: `network(x, edge_index, ...)`."""
    return call(network, network, network.forward, inputs)


def call(network: nn.Module, function: Callable[..., Any], signed: Callable[..., Any], inputs: Any) -> Any:
    """Return `function` of the inputs, a graph's as far as the signature of `signed` asks for them.

    Weights that it cannot do without are 1 where the graph has none.
    """
    if not isinstance(inputs, Graph):
        return function(inputs)
    given: dict[str, Tensor | None] = {}
    for name, needed in find_asked(network, signed).items():
        value: Tensor | None = getattr(inputs, name)
        if value is None and needed and name == "edge_weight":
            value = inputs.x.new_ones(inputs.edge_index.shape[1])
        if value is not None or needed:
            given[name] = value
    return function(inputs.x, inputs.edge_index, **given)


def find_asked(network: nn.Module, signed: Callable[..., Any]) -> dict[str, bool]:
    """Return which of `OF_EDGES` a signature asks for, and whether it cannot do without.

    A PyG model has all in its signature, and says by `supports_edge_weight` what its layers take.
    """
    named = parameters_of(getattr(signed, "__func__", signed))
    return {
        name: named[name].default is inspect.Parameter.empty
        for name in OF_EDGES
        if name in named and getattr(network, f"supports_{name}", True)
    }


@lru_cache(maxsize=256)
def parameters_of(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return a function's parameters by name, empty where they are not known."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
