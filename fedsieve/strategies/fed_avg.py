"""Server half of FedAvg."""

from collections.abc import Mapping

from fedsieve.contract import Arrays, Expected, Replies
from fedsieve.strategies.mixing import mean
from fedsieve.strategy import FederatedStrategy


class FedAvg(FederatedStrategy):
    """Send one global model; the next is the size-weighted mean of the replies.

    McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS 2017,
    algorithm 1: w ← Σ_k |D_k| / Σ|D_k| · w_k.
    """

    def begin(self, initial: Arrays) -> None:
        """Begin from the initial weights."""
        self.weights = initial

    def broadcast(self, client: int, acknowledged: bool) -> Arrays:
        """Return the global model."""
        return self.weights

    def expected(self) -> Mapping[str, Expected]:
        """A reply holds all weights."""
        return {name: Expected.like(array) for name, array in self.weights.items()}

    def combine(self, replies: Replies) -> None:
        """Take the mean, weighted by the number of training examples."""
        self.weights = mean(replies, self.weights)

    def global_model(self) -> Arrays:
        """Return the global model."""
        return self.weights

    def adopt(self, arrays: Arrays) -> None:
        """Continue from another global model."""
        self.weights = arrays

    def state(self) -> Arrays:
        """Return the global model."""
        return self.weights

    def load_state(self, arrays: Arrays) -> None:
        """Continue from the global model."""
        self.weights = arrays
