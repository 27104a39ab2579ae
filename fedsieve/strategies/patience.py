"""Early stopping by the mean validation accuracy."""

import math

from fedsieve.strategies.latest import LatestMetrics


class Patience:
    """Says when the mean validation accuracy has not risen for `limit` rounds; 0 never does.

    When a client reports for the first time the mean is over more clients than before, and counting begins anew.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._best, self._clients, self._waited = -math.inf, 0, 0

    def runs_out(self, latest: LatestMetrics) -> bool:
        """Take one round's means and return whether to stop."""
        accuracy = latest.means().get("val-accuracy", -math.inf)
        if len(latest.by_client) > self._clients or accuracy > self._best:
            self._best, self._clients, self._waited = accuracy, len(latest.by_client), 0
        else:
            self._waited += 1
        return 0 < self.limit <= self._waited
