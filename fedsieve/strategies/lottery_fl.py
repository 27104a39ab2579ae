"""Server half of LotteryFL (Li et al. 2020, arXiv 2008.03371).

The paper: "LotteryFL: Personalized and Communication-Efficient Federated Learning with Lottery Ticket Hypothesis on
Non-IID Datasets".
"""

from collections.abc import Mapping

import numpy as np

from fedsieve.contract import Arrays, Expected, Layout, NDArray, Replies
from fedsieve.masks.attach import MATRIX_DIM
from fedsieve.strategy import FederatedStrategy


class LotteryFL(FederatedStrategy):
    """Send each client the weights of its own ticket; average each weight over the tickets that have it.

    Algorithm 1, and as in the authors' code each client counts alike and a weight that is in no ticket of the round
    keeps its value. Weight matrices travel as one vector, layer after layer, each row by row; biases and norms are
    dense. A client sends its ticket each time, one bit a weight. It is sent all weights until it has given a usable
    reply, and again after one that was not usable: its ticket is then another than the server knows, or lost.
    """

    def begin(self, initial: Arrays) -> None:
        """Begin with the initial weights and no ticket."""
        layers = {name: array for name, array in initial.items() if array.ndim >= MATRIX_DIM}
        self.layout = Layout.of(layers)
        self.values = np.concatenate([array.ravel() for array in layers.values()])
        self.dense = {f"dense/{name}": array for name, array in initial.items() if name not in layers}
        self.tickets: dict[int, NDArray] = {}
        self.everything: Arrays = {"values": self.values} | self.dense

    def broadcast(self, client: int, acknowledged: bool) -> Arrays:
        """Return the weights of the client's last ticket, all weights where none is known."""
        if client not in self.tickets or not acknowledged:
            return self.everything
        return {"values": self.values[self._bits(self.tickets[client])]} | self.dense

    def expected(self) -> Mapping[str, Expected]:
        """A reply holds the ticket, the weights on it, and the biases."""
        n = self.values.size
        ticket = {"values": Expected.up_to(n, np.float32), "ticket": Expected((-(-n // 8),), np.dtype(np.uint8))}
        return ticket | {name: Expected.like(array) for name, array in self.dense.items()}

    def unpack(self, client: int, arrays: Arrays) -> Arrays:
        """Check that the values fit the ticket."""
        bits = np.unpackbits(arrays["ticket"])
        if bits[self.values.size :].any():
            raise ValueError("the ticket's padding is not zero")
        if (number := int(bits.sum())) != arrays["values"].size:
            raise ValueError(f"{arrays['values'].size} values do not fit a ticket of {number} weights")
        return arrays

    def combine(self, replies: Replies) -> None:
        """Take the mean of each weight over the tickets that have it, and of each bias over all replies."""
        total, count = np.zeros(self.values.size), np.zeros(self.values.size, dtype=np.int64)
        for reply in replies:
            self.tickets[reply.client] = reply.arrays["ticket"].copy()
            bits = self._bits(self.tickets[reply.client])
            total[bits] += reply.arrays["values"]
            count += bits
        self.values = np.where(count > 0, total / np.maximum(count, 1), self.values).astype(np.float32)
        self.dense = {
            name: np.mean([reply.arrays[name] for reply in replies], axis=0, dtype=np.float64).astype(array.dtype)
            for name, array in self.dense.items()
        }
        self.everything = {"values": self.values} | self.dense

    def global_model(self) -> Arrays:
        """Return the server's weights; every client's own model is a part of them, trained on."""
        dense = {name.removeprefix("dense/"): array for name, array in self.dense.items()}
        return self.layout.split(self.values) | dense

    def state(self) -> Arrays:
        """Return the weights: the matrices as one vector, and the biases."""
        return self.everything

    def state_of(self, client: int) -> Arrays:
        """Return the client's ticket, as bits, if it is known."""
        return {"ticket": self.tickets[client]} if client in self.tickets else {}

    def load_state(self, arrays: Arrays) -> None:
        """Continue with the weights."""
        self.values, self.dense = arrays["values"], {name: arrays[name] for name in self.dense}
        self.everything = {"values": self.values} | self.dense

    def load_state_of(self, client: int, arrays: Arrays) -> None:
        """Take back the client's ticket."""
        self.tickets[client] = arrays["ticket"]

    def _bits(self, ticket: NDArray) -> NDArray:
        return np.unpackbits(ticket, count=self.values.size).view(np.bool_)
