"""Weights whose mask entries change together: what the mask codec is told of the network."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fedsieve.masks.attach import find_transposed, weights
from fedsieve.masks.binary import maskable

Groups = NDArray[np.unsignedinteger[Any]]
"""The group of each masked weight, from 0; some numbers may be nobody's."""


def groups_of(network: nn.Module) -> Groups:
    """Return the groups of a network's frozen weight matrices, before masks are attached; see `number_groups`."""
    return number_groups(maskable(weights(network)), find_transposed(network))


def number_groups(layers: Mapping[str, Tensor], transposed: Collection[str] = ()) -> Groups:
    """Return the group of each entry of these frozen layers: 2 times its unit, counted through, plus whether w > 0.

    A unit is an output: an entry of a layer's first dimension, or of its second where it is one of `transposed`. Where
    inputs are not negative, as after ReLU, the gradient of a latent has the sign of w times the unit's own, so that all
    of a group are pushed one way.
    """
    axes = {name: int(name in transposed) for name in layers}
    dtype = np.min_scalar_type(2 * sum(weight.shape[axes[name]] for name, weight in layers.items()))
    of_layers, first = [np.empty(0, dtype)], 0
    for name, weight in layers.items():
        positive = weight.detach().cpu().numpy() > 0
        unit = np.arange(first, first + positive.shape[axes[name]], dtype=dtype)
        shape = [-1 if axis == axes[name] else 1 for axis in range(positive.ndim)]
        of_layers.append((2 * unit.reshape(shape) + positive).astype(dtype).ravel())
        first += len(unit)
    return np.concatenate(of_layers)
