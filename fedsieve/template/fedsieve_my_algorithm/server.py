"""Server half of my-algorithm: what is sent to clients, and how their replies are combined."""

from collections.abc import Mapping, Sequence

import numpy as np
from fedsieve.algorithms import Algorithm
from fedsieve.contract import Arrays, Expected, Reply
from fedsieve.strategies.mixing import size_weights
from fedsieve.strategy import FederatedStrategy

from .client import MyAlgorithmConfig, MyAlgorithmTrainer


class MyAlgorithm(FederatedStrategy[MyAlgorithmConfig]):
    """Send one model; the next lies `step` of the way from it to the size-weighted mean of the replies."""

    def initialise(self, initial: Arrays) -> None:
        """Begin a run from the initial weights."""
        self.weights = initial

    def arrays_for(self, client: int) -> Arrays:
        """Return what this client is sent: here, all get the same. Its trainer finds it in `received`."""
        return self.weights

    def expected(self) -> Mapping[str, Expected]:
        """Return what a reply must hold; one with other names, shapes, types or with NaN is left out and named."""
        return {name: Expected.like(array) for name, array in self.weights.items()}

    def combine(self, replies: Sequence[Reply]) -> None:
        """Combine a round's good replies. They are sorted by client, so that a sum is the same for any order.

        Clients may be missing: ask `reply.client` who it is. Metrics that the client reports are in `reply.metrics`.
        """
        shares = size_weights([reply.num_examples for reply in replies])[0]
        step = self.settings.step
        for_next: Arrays = {}
        for name, old in self.weights.items():
            mean = np.tensordot(shares, np.stack([reply.arrays[name] for reply in replies]), 1)
            for_next[name] = ((1 - step) * old + step * mean).astype(old.dtype)
        self.weights = for_next  # a new object: the old one may still be on its way to a checkpoint

    def global_model(self) -> Arrays:
        """Return the one model that all clients share; leave this method out where there is none."""
        return self.weights

    def server_arrays(self) -> Arrays:
        """Return all that the server remembers, for the checkpoint of each round."""
        return self.weights

    def restore(self, arrays: Arrays) -> None:
        """Take back what `server_arrays` returned, when a run is resumed."""
        self.weights = arrays


ALGORITHM = Algorithm(
    summary="FedAvg that goes part of the way to the clients' mean",
    config=MyAlgorithmConfig,
    strategy=MyAlgorithm,
    trainer=MyAlgorithmTrainer,
    # A reply holds the very arrays that were sent, trained on: so dp-clip and dp-noise work. Else leave this out.
    returns_weights=True,
)
