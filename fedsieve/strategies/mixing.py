"""The server's mathematics: similarity of functional embeddings, and mixtures of clients' weights."""

from collections.abc import Sequence

import numpy as np

from fedsieve.wire import Arrays, NDArray


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


def mix(sources: Sequence[Arrays], weights: NDArray) -> list[Arrays]:
    """Return for each row i of `weights` (R x K) the arrays Σ_j weights_ij · sources_j, in the sources' dtype.

    All rows at once: one R x K by K x P product an array.
    """
    mixed: list[Arrays] = [{} for _ in range(len(weights))]
    for name, first in sources[0].items():
        stacked = np.stack([source[name].reshape(-1) for source in sources])
        for row, values in zip(mixed, weights.astype(first.dtype) @ stacked, strict=True):
            row[name] = values.reshape(first.shape).copy()  # a view would keep all rows alive
    return mixed
