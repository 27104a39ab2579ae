"""Server half of local-only training: it sends nothing and combines nothing."""

from collections.abc import Mapping

from fedsieve.contract import Arrays, Expected, Replies
from fedsieve.strategy import FederatedStrategy


class Local(FederatedStrategy):
    """Ask sampled clients to train, each alone: what federating has to beat."""

    def begin(self, initial: Arrays) -> None:
        """Keep one empty set of arrays; clients draw the initial weights from the run's seed."""
        del initial
        self.nothing: Arrays = {}

    def broadcast(self, client: int, acknowledged: bool) -> Arrays:
        """Return no arrays."""
        return self.nothing

    def expected(self) -> Mapping[str, Expected]:
        """A reply holds no arrays."""
        return {}

    def combine(self, replies: Replies) -> None:
        """Combine nothing."""

    def load_state(self, arrays: Arrays) -> None:
        """Remember nothing."""
