"""Contexts of the mask codec: which flips share a flip probability, and the cheapest way to share.

A flip is a sign that is not the broadcast's. The finest contexts are (layer, bucket of |broadcast|); a scheme sums them
over layers, over buckets, over both or over neither. Only contexts that have entries count, so sender and receiver find
them alike from the broadcast and the layers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ONE, BUCKETS, LAYERS, LAYERS_AND_BUCKETS = SCHEMES = range(4)

SCALE = 65_536
"""A flip probability is k/SCALE for a whole number k: exact in floating point, so every device has the same model."""

_HALF = 176
_BELOW = [(16 + (code & 15)) << (code >> 4) for code in range(_HALF + 1)]
LADDER = np.array(_BELOW + [SCALE - _BELOW[2 * _HALF - code] for code in range(_HALF + 1, 256)])
"""The k that each byte stands for, rising: 16 steps an octave from 16 to a half, and mirrored above, up to 0.98.

Between its ends rounding costs less than a thousandth of the ideal code; a second byte a context would cost more.
"""

_MIDDLES = (LADDER[1:] + LADDER[:-1]) / 2

_BUCKETS = 8
_WIDTH_BITS = 4
_SUMMED_AXES = {ONE: (0, 1), BUCKETS: (0,), LAYERS: (1,), LAYERS_AND_BUCKETS: ()}

Contexts = NDArray[np.unsignedinteger[Any]]
"""The finest context of each entry: 8 times its layer plus the bucket of its |broadcast|."""


def finest(broadcast: NDArray[np.int8], layer_sizes: Sequence[int]) -> Contexts:
    """Return the finest context of each of the n entries of `broadcast`, n being the sum of `layer_sizes`."""
    bucket = np.minimum(np.abs(broadcast).view(np.uint8) >> _WIDTH_BITS, _BUCKETS - 1)
    dtype = np.min_scalar_type(_BUCKETS * max(1, len(layer_sizes)))
    found: Contexts = np.repeat(np.arange(len(layer_sizes), dtype=dtype) * _BUCKETS, layer_sizes) + bucket
    return found


def group(scheme: int, contexts: Contexts) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the entries ordered by their context under `scheme`, and the size of each context that has any."""
    keys = contexts
    if scheme == ONE:
        keys = np.zeros_like(contexts)
    elif scheme == BUCKETS:
        keys = contexts % _BUCKETS
    elif scheme == LAYERS:
        keys = contexts // _BUCKETS
    sizes = np.bincount(keys)
    # A stable sort is a radix sort for these narrow integers.
    return np.argsort(keys, kind="stable"), sizes[sizes > 0]


def cheapest(flips: NDArray[np.bool_], contexts: Contexts) -> tuple[int, NDArray[np.uint8]]:
    """Return the scheme of the fewest bits, 8 a context included, and its flip probabilities' places in `LADDER`."""
    shape = (int(contexts.max(initial=0)) // _BUCKETS + 1, _BUCKETS)
    entries, flipped = (
        np.bincount(chosen, minlength=shape[0] * shape[1]).reshape(shape) for chosen in (contexts, contexts[flips])
    )
    found = {}
    for scheme, axes in _SUMMED_AXES.items():
        size, ones = entries.sum(axis=axes).ravel(), flipped.sum(axis=axes).ravel()
        size, ones = size[size > 0], ones[size > 0]
        places = np.searchsorted(_MIDDLES, SCALE * ones / size).astype(np.uint8)
        found[scheme] = bits(ones, size, places) + 8 * len(size), scheme, places
    _, scheme, places = min(found.values(), key=lambda candidate: candidate[:2])
    return scheme, places


def bits(ones: NDArray[np.intp], sizes: NDArray[np.intp], places: NDArray[np.uint8]) -> float:
    """Return the cross-entropy in bits of `ones` flips among `sizes` entries a context, coded with these `places`."""
    p = LADDER[places] / SCALE
    return float(-(ones * np.log2(p) + (sizes - ones) * np.log2(1 - p)).sum())
