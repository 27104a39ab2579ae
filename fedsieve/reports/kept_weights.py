"""Which weights the clients' personal models keep: read from `model/`, where zeros are what masks have sieved out."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open

from fedsieve.contract import NDArray
from fedsieve.reports.words import thinned
from fedsieve.runs.layout import RunLayout

MATRIX_DIM = 2
"""Masks sit on weight matrices alone (`fedsieve.masks.attach`)."""

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


def kept_weights(folder: Path) -> KeptWeights | None:
    """Read the models that the run in `folder` has left, None where there are none."""
    layout = RunLayout(folder)
    files = {client: layout.model_of(client) for client in layout.clients_with_models()}
    if not files:
        return None
    size = max(path.stat().st_size for path in files.values())
    clients = thinned(sorted(files), max(2, min(MOST, READ // max(1, size))))
    with safe_open(files[clients[0]], framework="numpy") as first:
        layers = [
            name for name in sorted(first.keys(), key=_in_order) if len(first.get_slice(name).get_shape()) >= MATRIX_DIM
        ]
    signs: dict[str, list[NDArray]] = {layer: [] for layer in layers}
    for client in clients:
        with safe_open(files[client], framework="numpy") as file:
            for layer in layers:
                signs[layer].append(np.sign(file.get_tensor(layer)).astype(np.int8).ravel())
    count = len(clients)
    zeros = np.zeros((count, len(layers)))
    both, either_own, same = np.zeros((count, count)), np.zeros(count), np.zeros((count, count))
    for at, layer in enumerate(layers):
        rows = np.stack(signs.pop(layer))
        zeros[:, at] = (rows == 0).mean(axis=1)
        for start in range(0, rows.shape[1], BLOCK):
            signed = rows[:, start : start + BLOCK].astype(np.float32)
            kept = np.abs(signed)
            common = kept @ kept.T
            both += common
            same += (common + signed @ signed.T) / 2
            either_own += kept.sum(axis=1)
    either = either_own[:, None] + either_own[None, :] - both
    return KeptWeights(clients, len(files), layers, zeros, _share(both, either), _share(same, both))


def _in_order(name: str) -> list[tuple[int, str]]:
    """Sort `layer2` before `layer10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _share(part: NDArray, whole: NDArray) -> NDArray:
    """Return part / whole, NaN where there is nothing."""
    share: NDArray = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return share
