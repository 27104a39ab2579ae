"""Which weights the clients' personal models keep: in their files zeros are what masks have sieved out."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedsieve.contract import NDArray
from fedsieve.reports.words import thin_out
from fedsieve.runs.reading import measure_models, read_matrices

READ = 256 * 2**20
"""Bytes of models that are read, spread over the clients: of large models those of fewer clients."""

MOST = 60
"""Clients whose models are read."""

BLOCK = 2**18
"""Weights that are compared at once."""


@dataclass(frozen=True)
class KeptWeights:
    """What the personal models of some clients keep.

    Attributes:
        clients: whose models were read, N, and `of`, how many there are.
        layers: names of the weight matrices, L.
        zeros: share of zeros, N x L.
        shared: of the weights that either of two clients keeps, the share that both keep, N x N.
        agreeing: of those that both keep, the share with one sign, N x N.
    """

    clients: list[int]
    of: int
    layers: list[str]
    zeros: NDArray
    shared: NDArray
    agreeing: NDArray


def measure_kept_weights(folder: Path) -> KeptWeights | None:
    """Read the models of the run in `folder`, None where there are none.

    Raises:
        UserError: one cannot be read.
    """
    sizes = measure_models(folder)
    if not sizes:
        return None
    clients = thin_out(sorted(sizes), max(2, min(MOST, READ // max(1, *sizes.values()))))
    signs: dict[str, list[NDArray]] = {}
    for client in clients:
        for layer, weights in read_matrices(folder, client):
            signs.setdefault(layer, []).append(np.sign(weights).astype(np.int8).ravel())
    layers = sorted(signs, key=_split_numbers)
    count = len(clients)
    zeros = np.zeros((count, len(layers)))
    both, either_own, same = np.zeros((count, count)), np.zeros(count), np.zeros((count, count))
    for at, layer in enumerate(layers):
        rows = np.stack(signs.pop(layer))
        zeros[:, at] = (rows == 0).mean(axis=1)
        for start in range(0, rows.shape[1], BLOCK):
            signed = rows[:, start : start + BLOCK].astype(np.float32)
            nonzero = np.abs(signed)
            common = nonzero @ nonzero.T
            both += common
            same += (common + signed @ signed.T) / 2
            either_own += nonzero.sum(axis=1)
    either = either_own[:, None] + either_own[None, :] - both
    return KeptWeights(clients, len(sizes), layers, zeros, _divide(both, either), _divide(same, both))


def _split_numbers(name: str) -> list[tuple[int, str]]:
    """Sort `layer2` before `layer10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _divide(part: NDArray, whole: NDArray) -> NDArray:
    """Return part / whole, NaN where there is nothing."""
    share: NDArray = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return share
