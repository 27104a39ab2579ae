"""Server half of local-only training: it sends nothing and combines nothing."""

from collections.abc import Mapping, Sequence

from fedsieve.algorithm import Algorithm
from fedsieve.client.local import LocalConfig, LocalTrainer
from fedsieve.strategies.base import FederatedStrategy
from fedsieve.strategies.screening import ClientReply, Expected
from fedsieve.wire import Arrays


class Local(FederatedStrategy[LocalConfig]):
    """Tell sampled clients to train, each alone: what federating has to beat."""

    def initialise(self, initial: Arrays) -> None:
        """Keep one empty set of arrays; clients draw the initial weights from the run's seed."""
        del initial
        self.nothing: Arrays = {}

    def arrays_for(self, client: int) -> Arrays:
        """Return no arrays."""
        return self.nothing

    def expected(self) -> Mapping[str, Expected]:
        """A reply holds no arrays."""
        return {}

    def combine(self, replies: Sequence[ClientReply]) -> None:
        """Combine nothing."""

    def restore(self, arrays: Arrays) -> None:
        """Remember nothing."""


ALGORITHM = Algorithm(
    summary="every client trains alone; nothing is sent",
    config=LocalConfig,
    strategy=Local,
    trainer=LocalTrainer,
)
