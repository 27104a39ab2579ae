"""What one round was: the record that the round loop hands to its observers."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from fedsieve.contract import STATE_LOST, Arrays, Reply


@dataclass(frozen=True)
class Round:
    """One finished round.

    Attributes:
        number: from 1; clients that no round sampled train once more in a last one, for the metric only.
        participants: ids of the clients sampled, sorted.
        replies: the usable replies, sorted by client.
        rejected: why each of the other participants was rejected.
        downlink_bytes: serialised bytes sent to each participant; payload: the arrays' values alone.
        for_metric_only: nothing was combined; see `number`.
        means: of each metric over all clients heard of, each with that of its last training; see `LatestMetrics`.
        seconds: wall time, from the first message to the last observer-visible result.
        failed: nothing was combined, because fewer replies were usable than the run needs; it ends.
    """

    number: int
    participants: tuple[int, ...]
    replies: tuple[Reply, ...]
    rejected: dict[int, str]
    downlink_bytes: dict[int, int]
    downlink_payload_bytes: dict[int, int]
    for_metric_only: bool
    means: dict[str, float]
    seconds: float
    failed: bool = False

    @property
    def usable(self) -> set[int]:
        """Clients whose replies were taken; none in a round that failed, which whoever resumes the run tries again."""
        return set() if self.failed else {reply.client for reply in self.replies}

    @property
    def lost(self) -> tuple[int, ...]:
        """Clients that have started from nothing, because the state that they were to continue from was not there."""
        return tuple(reply.client for reply in self.replies if reply.metrics.get(STATE_LOST))

    def drop_arrays(self) -> "Round":
        """Return the same round without the arrays of its replies, to be kept."""
        return replace(self, replies=tuple(drop_arrays(reply) for reply in self.replies))


def drop_arrays(reply: Reply) -> Reply:
    """Return the reply without its arrays."""
    return replace(reply, arrays={}, buffers={})


@dataclass(frozen=True)
class Past:
    """What a run that is resumed begins with.

    Attributes:
        rounds: all rounds so far in which replies were combined, without arrays.
        arrays: what the strategy's `state` returned after the last of them.
        of_clients: each client with what `state_of` returned for it, where that was not empty.
    """

    rounds: tuple[Round, ...]
    arrays: Arrays
    of_clients: Iterable[tuple[int, Arrays]]


class Observer(Protocol):
    """Watches a run: history files, a progress display."""

    def round_finished(self, round_: Round) -> bool | None:
        """Called after each round, in order; True: the run is to stop after it."""
