"""Server half of FedAvg."""

from collections.abc import Mapping, Sequence

from fedsieve.algorithm import Algorithm, AlgorithmConfig
from fedsieve.client.fed_avg import FedAvgConfig, FedAvgTrainer
from fedsieve.strategies.base import FederatedStrategy
from fedsieve.strategies.mixing import mix, size_weights
from fedsieve.strategies.rounds import without_arrays
from fedsieve.strategies.rows import room_for
from fedsieve.strategies.screening import ClientReply, Expected
from fedsieve.wire import Arrays


class FedAvg(FederatedStrategy[AlgorithmConfig]):
    """Send one global model; the next is the size-weighted mean of the replies.

    McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS 2017,
    algorithm 1: w ← Σ_k |D_k| / Σ|D_k| · w_k.
    """

    def initialise(self, initial: Arrays) -> None:
        """Begin from the initial weights."""
        self.weights = initial
        self.uploads, self.mean = room_for(self.run, initial, self.sample_size, 1)

    def arrays_for(self, client: int) -> Arrays:
        """Return the global model."""
        return self.weights

    def expected(self) -> Mapping[str, Expected]:
        """A reply holds all weights."""
        return {name: Expected.like(array) for name, array in self.weights.items()}

    def hold(self, reply: ClientReply) -> ClientReply:
        """Put the weights into a row."""
        self.uploads.put(self.place[reply.client], reply.arrays)
        return without_arrays(reply)

    def combine(self, replies: Sequence[ClientReply]) -> None:
        """Take the mean, weighted by the number of training examples."""
        weights = size_weights([reply.num_examples for reply in replies])
        mix(weights, self.uploads, [self.place[reply.client] for reply in replies], self.mean, [0])
        self.weights = self.mean.get(0)

    def global_model(self) -> Arrays:
        """Return the global model."""
        return self.weights

    def server_arrays(self) -> Arrays:
        """Return the global model."""
        return self.weights

    def restore(self, arrays: Arrays) -> None:
        """Go on with the global model."""
        self.weights = arrays


ALGORITHM = Algorithm(
    summary="one global model, the mean of the clients' (McMahan et al., AISTATS 2017)",
    config=FedAvgConfig,
    strategy=FedAvg,
    trainer=FedAvgTrainer,
    returns_weights=True,
)
