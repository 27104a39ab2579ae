"""Server half of FED-PUB (Baek et al., "Personalized Subgraph Federated Learning", ICML 2023, arXiv 2206.10206)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fedsieve.algorithm import Algorithm
from fedsieve.client.fed_pub import EMBEDDING, FedPubConfig, FedPubTrainer
from fedsieve.data.proxy import random_proxy_graph, random_proxy_images
from fedsieve.models import build, ones
from fedsieve.models.embedding import embedding_dim
from fedsieve.models.gcn import propagation
from fedsieve.strategies.base import FederatedStrategy
from fedsieve.strategies.mixing import cosine_similarity, mix, similarity_weights, size_weights
from fedsieve.strategies.rows import room_for
from fedsieve.strategies.screening import ClientReply, Expected
from fedsieve.wire import Arrays, NDArray


class FedPub(FederatedStrategy[FedPubConfig]):
    """Send each client its own mixture of the models, weighted by how alike the models are.

    From the functional embeddings h_k of a round's replies: s_ij = cos(h_i, h_j) (eq. 4),
    α_ij = exp(τ·s_ij) / Σ_j exp(τ·s_ij) and θ̄_i = Σ_j α_ij θ_j (eq. 5). A client sampled again after a pause gets its
    own last θ̄; sampled for the first time it gets the size-weighted mean of the last round, never another client's.

    So the server keeps a model of every client that was ever sampled, and those of a round while it mixes them: K x P
    numbers each, which are on disk where `state-memory-mb` is too little for them.
    """

    def initialise(self, initial: Arrays) -> None:
        """Begin with the initial weights for everybody."""
        self.shared = initial
        length = embedding_dim(build(self.run, self.shape), self._compared_on())
        self.embedding = Expected((length,), np.dtype(np.float32))
        self.row = {client: row for row, client in enumerate(self.nodes)}
        self.personalised, self.uploads = room_for(self.run, initial, len(self.nodes) + 1, self.sample_size)
        self.mixed: set[int] = set()
        self.similarity = np.zeros((0, 0))
        self.compared: list[int] = []

    def _compared_on(self) -> Any:
        """Return the random inputs, on which a user's own network may fail; for a built-in one, any."""
        if ":" not in self.run.model:
            return ones(self.shape)
        if len(self.shape.input) > 1:
            return random_proxy_images(self.shape.input, self.run.seed)
        graph = random_proxy_graph(self.shape.input[0], self.run.seed)
        return propagation(graph.x, graph.edge_index)

    def arrays_for(self, client: int) -> Arrays:
        """Return θ̄ of the client, or the mean if it has none yet."""
        return self.personalised.get(self.row[client]) if client in self.mixed else self.shared

    def expected(self) -> Mapping[str, Expected]:
        """A reply holds all weights and h_k; the mask stays on the client."""
        return {name: Expected.like(array) for name, array in self.shared.items()} | {EMBEDDING: self.embedding}

    def hold(self, reply: ClientReply) -> ClientReply:
        """Put the weights into a row, and keep h_k."""
        self.uploads.put(self.place[reply.client], reply.arrays)
        return replace(reply, arrays={EMBEDDING: reply.arrays[EMBEDDING]})

    def combine(self, replies: Sequence[ClientReply]) -> None:
        """Compare the round's models and mix each client's next one; the last row takes the mean."""
        self.compared = [reply.client for reply in replies]
        self.similarity = cosine_similarity(np.stack([reply.arrays[EMBEDDING] for reply in replies]))
        alpha = similarity_weights(self.similarity, self.settings.tau)
        mean = size_weights([reply.num_examples for reply in replies])
        sources = [self.place[client] for client in self.compared]
        targets = [*(self.row[client] for client in self.compared), len(self.nodes)]
        mix(np.concatenate([alpha, mean]), self.uploads, sources, self.personalised, targets)
        self.shared = self.personalised.get(len(self.nodes))
        self.mixed.update(self.compared)

    def likeness(self) -> tuple[Sequence[int], NDArray] | None:
        """Return s_ij of the last round."""
        return (self.compared, self.similarity) if self.compared else None

    def server_arrays(self) -> Arrays:
        """Return the mean, and the last round's similarity matrix with the clients it compares."""
        matrix = {"similarity": self.similarity, "compared": np.asarray(self.compared, dtype=np.int64)}
        return {f"shared/{name}": array for name, array in self.shared.items()} | matrix

    def server_arrays_of(self, client: int) -> Arrays:
        """Return θ̄ of the client, if it has one."""
        return self.personalised.get(self.row[client]) if client in self.mixed else {}

    def restore(self, arrays: Arrays) -> None:
        """Take back the mean and the similarities."""
        self.similarity, self.compared = arrays["similarity"], arrays["compared"].tolist()
        self.shared = {name: arrays[f"shared/{name}"] for name in self.shared}

    def restore_of(self, client: int, arrays: Arrays) -> None:
        """Take back θ̄ of the client."""
        self.personalised.put(self.row[client], arrays)
        self.mixed.add(client)


ALGORITHM = Algorithm(
    summary="a model for each client, mixed by similarity, with a personal mask (Baek et al., ICML 2023)",
    config=FedPubConfig,
    strategy=FedPub,
    trainer=FedPubTrainer,
)
