"""The server's mathematics: similarity of functional embeddings, and mixtures of clients' weights."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fedsieve.contract import Arrays, Expected, NDArray, Replies
from fedsieve.rows import blocks

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


def mix(weights: NDArray, replies: Replies, layout: Mapping[str, Expected]) -> Iterator[tuple[str, int, NDArray]]:
    """Yield Σ_j weights_ij θ_j for each row i of `weights`, R x K, and the models θ_j of K replies, block by block.

    It is an R x K by K x P product, `COLUMNS` of P at a time: no more than (R + K) x `COLUMNS` numbers are in memory,
    wherever the uploads are. Every number is a sum over the K models in the order of `replies`. How a product rounds
    depends on its width, so blocks are the same wherever a run's uploads are, and `COLUMNS` is no key. Arrays of whole
    numbers are rounded.

    Args:
        weights: R x K.
        replies: of K clients.
        layout: the arrays of a model, of which each reply holds one.

    Yields:
        an array's name, the place in the flat array where the block begins, and the block, R x at most `COLUMNS`.
    """
    for name, start, stop in blocks(layout, COLUMNS):
        models = replies.columns(name, start, stop)
        if np.issubdtype(models.dtype, np.inexact):
            yield name, start, weights.astype(models.dtype) @ models
        else:
            yield name, start, np.rint(weights @ models).astype(models.dtype)


def mean(replies: Replies, like: Mapping[str, Expected | NDArray]) -> Arrays:
    """Return the mean of the replies' models, weighted by |D_k| (FedAvg, algorithm 1).

    Args:
        replies: of clients that have trained.
        like: arrays of the shapes and types of a model's, such as the last model itself.
    """
    layout = {name: Expected(one.shape, one.dtype) for name, one in like.items()}
    weights = size_weights(replies.num_examples)
    flat = {name: np.empty(int(np.prod(expected.shape)), expected.dtype) for name, expected in layout.items()}
    for name, start, block in mix(weights, replies, layout):
        flat[name][start : start + block.shape[1]] = block[0]
    return {name: array.reshape(layout[name].shape) for name, array in flat.items()}
