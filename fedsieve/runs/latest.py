"""Each client's metrics of its last training: under partial participation, those are a round's."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from fedsieve.contract import COUNT_OF, Reply


@dataclass
class LatestMetrics:
    """The last metrics of every client heard of, and their means over the clients."""

    by_client: dict[int, dict[str, float]] = field(default_factory=dict)

    def update(self, replies: Iterable[Reply]) -> None:
        """Take a round's replies."""
        self.by_client.update({reply.client: reply.metrics for reply in replies})

    def means(self) -> dict[str, float]:
        """Return the mean of each metric over the clients that have data for it."""
        means = {metric: self.mean(metric) for metric in COUNT_OF}
        return {metric: mean for metric, mean in means.items() if mean is not None}

    def mean(self, metric: str) -> float | None:
        """Return the mean of one metric, None where no client has data for it."""
        values = self.values(metric)
        return sum(values) / len(values) if values else None

    def values(self, metric: str) -> list[float]:
        """Return `metric` of each client that has data for it, in the order of their ids."""
        count = COUNT_OF[metric]
        return [metrics[metric] for _, metrics in sorted(self.by_client.items()) if metrics[count] > 0]
