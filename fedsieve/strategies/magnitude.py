"""How large a reply is beside the others: a finite reply can still be out of all proportion."""

import math
from collections.abc import Mapping

import numpy as np

from fedsieve.wire import Arrays


def magnitude(arrays: Arrays) -> float:
    """Return the Euclidean norm of all floating-point values of `arrays`; 0 where there are none, as in coded masks."""
    floating = (array.reshape(-1) for array in arrays.values() if np.issubdtype(array.dtype, np.floating))
    return math.sqrt(sum(float(np.vdot(values, values)) for values in floating))


def out_of_proportion(norms: Mapping[int, float], sent: Mapping[int, float], limit: float) -> dict[int, str]:
    """Return which clients' replies are more than `limit` times too large, and why, one clause each.

    A reply is held against the median of the others, the lower of two, and against what its client was sent, the
    larger of both: half of the others may be 0, or as much too large. The one reply of a round is held against nothing.

    Args:
        norms: `magnitude` of each client's reply.
        sent: of what each of them was sent.
        limit: how many times is too large; 0: nothing is.
    """
    if len(norms) < 2 or limit == 0:
        return {}
    order = sorted(norms, key=lambda client: (norms[client], client))
    middle = (len(order) - 2) // 2
    found: dict[int, str] = {}
    for rank, client in enumerate(order):
        usual = max(norms[order[middle + (rank <= middle)]], sent[client])
        if norms[client] > limit * usual:
            times = f"more than {limit:g} times the {usual:.3g} of the others and of what it was sent"
            found[client] = f"its values have a norm of {norms[client]:.3g}, {times} (norm-limit)"
    return found
