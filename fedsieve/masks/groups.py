"""Weights whose mask entries change together: what the mask codec is told of the network."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Groups = NDArray[np.unsignedinteger[Any]]
"""The group of each masked weight, from 0; some numbers may be nobody's."""


def groups(weights: Mapping[str, Tensor]) -> Groups:
    """Return the group of each entry of these frozen layers: 2 times its unit, counted through, plus whether w > 0.

    A unit is an entry of a layer's first dimension. Where inputs are not negative, as after ReLU, the gradient of a
    latent has the sign of w times the unit's own, so that all of a group are pushed one way.
    """
    units = sum(len(weight) for weight in weights.values())
    dtype = np.min_scalar_type(2 * units)
    found, first = [np.empty(0, dtype)], 0
    for weight in weights.values():
        unit = np.arange(first, first + len(weight), dtype=dtype)[:, None]
        found.append((2 * unit + (weight.detach().cpu().flatten(1).numpy() > 0)).astype(dtype).ravel())
        first += len(weight)
    return np.concatenate(found)
