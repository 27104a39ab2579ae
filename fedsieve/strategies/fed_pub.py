"""Server half of FED-PUB (Baek et al., "Personalized Subgraph Federated Learning", ICML 2023, arXiv 2206.10206)."""

from collections.abc import Mapping, Sequence
from logging import getLogger
from typing import Any, Self

import numpy as np
from pydantic import BaseModel

from fedsieve.allowed import check_arguments
from fedsieve.contract import Arrays, Expected, NDArray, Replies, Setting
from fedsieve.models.embedding import embedding_dim
from fedsieve.protocols.fed_pub import EMBEDDING, FedPubConfig
from fedsieve.strategies.mixing import cosine_similarity, mix, similarity_weights, size_weights
from fedsieve.strategy import FederatedStrategy

_log = getLogger("fedsieve")

LONGEST_EMBEDDING = 1_000_000
"""Numbers of an embedding whose length is not known before clients answer, at most."""


class FedPub(FederatedStrategy):
    """Send each client its own mixture of the models, weighted by how alike the models are.

    From the functional embeddings h_k of a round's replies: s_ij = cos(h_i, h_j) (eq. 4),
    α_ij = exp(τ·s_ij) / Σ_j exp(τ·s_ij) and θ̄_i = Σ_j α_ij θ_j (eq. 5). A client sampled again after a pause gets its
    own last θ̄; sampled for the first time it gets the size-weighted mean of the last round, never another client's.
    So the server keeps a model of every client that was ever sampled.

    Args:
        tau: τ; the paper: 3 for disjoint, 5 for overlapping subgraphs.
        embedding_dim: length of h_k; None: that of most of the first round's replies.
        flower: arguments of `fedsieve.strategy.FederatedStrategy`, such as `fraction_train`.
    """

    def __init__(self, *, tau: float = 3.0, embedding_dim: int | None = None, **flower: Any) -> None:
        check_arguments(FedPubConfig, {"tau": tau})
        super().__init__(**flower)
        self.tau, self.embedding_dim = tau, embedding_dim

    @classmethod
    def for_run(cls, setting: Setting, keys: BaseModel, **others: Any) -> Self:
        """Return the strategy of a run, whose network decides the length of h_k."""
        length = embedding_dim(setting.network(), setting.proxy())
        return super().for_run(setting, keys, embedding_dim=length, **others)

    def begin(self, initial: Arrays) -> None:
        """Begin with the initial weights for everybody."""
        self.shared = initial
        self.layout = {name: Expected.like(array) for name, array in initial.items()}
        self.personalised = self.storage.rows(self.layout)
        self.row: dict[int, int] = {}
        self.similarity = np.zeros((0, 0))
        self.compared: list[int] = []

    def broadcast(self, client: int, acknowledged: bool) -> Arrays:
        """Return θ̄ of the client, or the mean if it has none yet."""
        return self.personalised.get(self.row[client]) if client in self.row else self.shared

    def expected(self) -> Mapping[str, Expected]:
        """A reply holds all weights and h_k; the mask stays on the client."""
        if self.embedding_dim is None:
            return self.layout | {EMBEDDING: Expected.up_to(LONGEST_EMBEDDING, np.float32)}
        return self.layout | {EMBEDDING: Expected((self.embedding_dim,), np.dtype(np.float32))}

    def combine(self, replies: Replies) -> None:
        """Compare the round's models and mix each client's next one, and the mean for whoever has none."""
        embeddings = [reply.arrays[EMBEDDING] for reply in replies]
        if self.embedding_dim is None:
            lengths = [len(embedding) for embedding in embeddings]
            self.embedding_dim = max(lengths, key=lengths.count)
            if lengths.count(self.embedding_dim) < len(lengths):
                _log.warning("embeddings have the lengths %s; only those of %d count", lengths, self.embedding_dim)
            chosen = [place for place, length in enumerate(lengths) if length == self.embedding_dim]
            replies, embeddings = Replies([replies[place] for place in chosen]), [embeddings[place] for place in chosen]
        self.compared = replies.clients
        self.similarity = cosine_similarity(np.stack(embeddings))
        weights = np.concatenate([similarity_weights(self.similarity, self.tau), size_weights(replies.num_examples)])
        rows = [self.row.setdefault(client, len(self.row)) for client in self.compared]
        mean = {name: np.empty(array.size, array.dtype) for name, array in self.shared.items()}
        for name, start, block in mix(weights, replies, self.layout):
            self.personalised.put_columns(rows, name, start, block[:-1])
            mean[name][start : start + block.shape[1]] = block[-1]
        self.shared = {name: array.reshape(self.layout[name].shape) for name, array in mean.items()}

    def result(self) -> Arrays:
        """Return the size-weighted mean, which a client is sent that has no θ̄ yet."""
        return self.shared

    def similarity_matrix(self) -> tuple[Sequence[int], NDArray] | None:
        """Return s_ij of the last round."""
        return (self.compared, self.similarity) if self.compared else None

    def state(self) -> Arrays:
        """Return the mean, and the last round's similarity matrix with the clients it compares."""
        matrix = {"similarity": self.similarity, "compared": np.asarray(self.compared, dtype=np.int64)}
        return {f"shared/{name}": array for name, array in self.shared.items()} | matrix

    def state_of(self, client: int) -> Arrays:
        """Return θ̄ of the client, if it has one."""
        return self.personalised.get(self.row[client]) if client in self.row else {}

    def load_state(self, arrays: Arrays) -> None:
        """Take back the mean and the similarities."""
        self.similarity, self.compared = arrays["similarity"], arrays["compared"].tolist()
        self.shared = {name: arrays[f"shared/{name}"] for name in self.shared}

    def load_state_of(self, client: int, arrays: Arrays) -> None:
        """Take back θ̄ of the client."""
        self.personalised.put(self.row.setdefault(client, len(self.row)), arrays)
