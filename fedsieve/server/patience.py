"""Early stopping by the mean validation accuracy."""

import math


class Patience:
    """Says when the mean validation accuracy has not risen for `limit` rounds; 0 never does.

    When a client reports for the first time the mean is over more clients than before, and counting starts again.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._best, self._clients, self._waited = -math.inf, 0, 0

    def runs_out(self, accuracy: float, clients: int) -> bool:
        """Take one round's mean, and the number of clients heard of up to then, and return whether to stop."""
        if clients > self._clients or accuracy > self._best:
            self._best, self._clients, self._waited = accuracy, clients, 0
        else:
            self._waited += 1
        return 0 < self.limit <= self._waited
