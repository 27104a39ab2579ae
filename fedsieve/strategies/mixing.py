"""The server's mathematics: similarity of functional embeddings, and mixtures of clients' weights."""

from collections.abc import Sequence

import numpy as np

from fedsieve.strategies.rows import Rows
from fedsieve.wire import NDArray

COLUMNS = 4096
"""Of a block of `mix`: 2,048 to 4,096 was best for 100 to 2,000 models (docs/results.md), and 16 kB a row is read at
once."""


def cosine_similarity(embeddings: NDArray) -> NDArray:
    """Return s_ij = cos(h_i, h_j), K x K float64, for `embeddings` K x H (FED-PUB, eq. 4); 0 beside a zero vector."""
    h = embeddings.astype(np.float64)
    norms = np.linalg.norm(h, axis=1, keepdims=True)
    unit = np.divide(h, norms, out=np.zeros_like(h), where=norms > 0)
    similarity: NDArray = np.clip(unit @ unit.T, -1.0, 1.0)
    return similarity


def similarity_weights(similarity: NDArray, tau: float) -> NDArray:
    """Return α_ij = exp(τ·s_ij) / Σ_j exp(τ·s_ij), K x K, rows summing to 1 (FED-PUB, eq. 5)."""
    exponential = np.exp(tau * (similarity - similarity.max(axis=1, keepdims=True)))
    return np.asarray(exponential / exponential.sum(axis=1, keepdims=True))


def size_weights(num_examples: Sequence[int]) -> NDArray:
    """Return |D_k| / Σ|D_k|, 1 x K: the row that makes `mix` FedAvg's mean."""
    sizes = np.asarray([num_examples], dtype=np.float64)
    return np.asarray(sizes / sizes.sum())


def mix(weights: NDArray, sources: Rows, rows: Sequence[int], targets: Rows, target_rows: Sequence[int]) -> None:
    """Set row i of `target_rows` in `targets` to Σ_j weights_ij · the model in row j of `rows` in `sources`.

    It is an R x K by K x P product, `COLUMNS` of P at a time: beside the two matrices no more than (R + K) x `COLUMNS`
    numbers are in memory. Every number is a sum over the K models in the order of `rows`. How a product rounds depends
    on its width, so blocks are the same wherever a run's matrices are, and `COLUMNS` is no key.
    """
    factors = weights.astype(sources.dtype)
    for start, stop in sources.blocks(COLUMNS):
        targets.put_columns(target_rows, start, factors @ sources.columns(rows, start, stop))
