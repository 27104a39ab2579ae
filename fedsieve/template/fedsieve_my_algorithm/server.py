"""Server half of my-algorithm: what is sent to clients, and how their replies are combined."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from fedsieve.algorithms import Algorithm
from fedsieve.contract import Arrays, Expected, Replies
from fedsieve.strategies.mixing import mean
from fedsieve.strategy import FederatedStrategy

from .client import MyAlgorithmConfig, MyAlgorithmTrainer


class MyAlgorithm(FederatedStrategy):
    """Send one model; the next lies `step` of the way from it to the size-weighted mean of the replies.

    Args:
        step: how far; a run passes each key of `MyAlgorithmConfig` that is named here.
        flower: arguments of Flower's FedAvg, such as `fraction_train`.
    """

    def __init__(self, *, step: float = 1.0, **flower: Any) -> None:
        super().__init__(**flower)
        self.step = step

    def begin(self, initial: Arrays) -> None:
        """Begin a run from the initial weights, by parameter name."""
        self.weights = initial

    def broadcast(self, client: int, acknowledged: bool) -> Arrays:
        """Return what this client is sent: here, all get the same. Its trainer gets it as `received`."""
        return self.weights

    def expected(self) -> Mapping[str, Expected]:
        """Return what a reply must hold; one with other names, shapes, types or with NaN is rejected by name."""
        return {name: Expected.like(array) for name, array in self.weights.items()}

    def combine(self, replies: Replies) -> None:
        """Combine a round's usable replies. They are sorted by client, so that a sum is the same for any order.

        Clients may be missing: `replies.clients` are those who are there. Each reply has `client`, `arrays`, `metrics`.
        """
        target = mean(replies, self.weights)
        for_next: Arrays = {}
        for name, old in self.weights.items():
            for_next[name] = np.asarray(old + self.step * (target[name] - old), old.dtype)
        self.weights = for_next  # a new object: the old one may still be on its way to a checkpoint

    def global_model(self) -> Arrays:
        """Return the one model that all clients share; leave this method and `adopt` out where there is none."""
        return self.weights

    def adopt(self, arrays: Arrays) -> None:
        """Continue from this global model: one of Flower's wrappers, around the strategy, has changed it."""
        self.weights = arrays

    def state(self) -> Arrays:
        """Return all that the server remembers, for the checkpoint of each round."""
        return self.weights

    def load_state(self, arrays: Arrays) -> None:
        """Take back what `state` returned, when a run is resumed."""
        self.weights = arrays


ALGORITHM = Algorithm(
    summary="FedAvg that goes part of the way to the clients' mean",
    config=MyAlgorithmConfig,
    strategy=MyAlgorithm,
    trainer=MyAlgorithmTrainer,
    # A reply holds the very arrays that were sent, trained on: so dp-clip and dp-noise work. Else leave this out.
    returns_weights=True,
)
