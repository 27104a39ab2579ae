"""How large a reply is beside the others: a finite reply can still be out of all proportion."""

import math
from collections.abc import Mapping

import numpy as np

from fedsieve.contract import Arrays

Norms = dict[str, float]
"""Euclidean norm of each floating-point array, by its name."""

SLIGHT = 0.05
"""Share of a whole reply that any of its arrays may have: biases begin at 0 and grow each at its own pace."""


def magnitudes(arrays: Arrays) -> Norms:
    """Return the norm of each floating-point array; none of codes and masks."""
    return {
        name: math.sqrt(float(np.vdot(array, array)))
        for name, array in arrays.items()
        if np.issubdtype(array.dtype, np.floating)
    }


def find_out_of_proportion(replies: Mapping[int, Norms], sent: Mapping[int, Norms], limit: float) -> dict[int, str]:
    """Return which clients' replies are more than `limit` times too large, and why, one clause each.

    A reply as a whole, and each of its arrays, is held against the median of the others, the lower of two, and against
    what its client was sent, the larger of both: half of the others may be 0, or as much too large. Nothing of a client
    that was sent nothing, and is the only one to answer, is too large.

    Args:
        replies: `magnitudes` of each client's reply.
        sent: of what each of them was sent.
        limit: how many times is too large; 0: nothing is.
    """
    if limit == 0:
        return {}
    whole = {client: math.hypot(*norms.values()) for client, norms in replies.items()}
    usual = _compute_usual(whole, {client: math.hypot(*sent[client].values()) for client in replies})
    faults = {client: _describe_excess("its values", whole[client], usual[client], limit) for client in whole
             if usual[client] > 0 and whole[client] > limit * usual[client]}  # fmt: skip
    for name in sorted({name for norms in replies.values() for name in norms}):
        of_array = {client: norms.get(name, 0.0) for client, norms in replies.items()}
        common = _compute_usual(of_array, {client: sent[client].get(name, 0.0) for client in replies})
        for client, norm in of_array.items():
            most = max(common[client], SLIGHT * usual[client])
            if client not in faults and most > 0 and norm > limit * most:
                faults[client] = _describe_excess(f"array {name}", norm, most, limit)
    return dict(sorted(faults.items()))


def _compute_usual(norms: Mapping[int, float], sent: Mapping[int, float]) -> dict[int, float]:
    """Return for each client the lower median of the others' norms or, if that is larger, the norm of what was sent."""
    order = sorted(norms, key=lambda client: (norms[client], client))
    middle = (len(order) - 2) // 2
    others = {
        client: norms[order[middle + (rank <= middle)]] if len(order) > 1 else 0.0 for rank, client in enumerate(order)
    }
    return {client: max(others[client], sent[client]) for client in norms}


def _describe_excess(what: str, norm: float, usual: float, limit: float) -> str:
    verb = "has" if what.startswith("array") else "have"
    return f"{what} {verb} a norm of {norm:.3g}, more than {limit:g} times what is usual, {usual:.3g} (norm-limit)"
