"""Buffers that are averaged, `buffers = averaged`: they travel beside what an algorithm sends, whatever that is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fedsieve.contract import Arrays, Expected, Replies, Reply
from fedsieve.strategies.mixing import mean

PREFIX = "fedsieve.buffers/"
"""Before their names in a checkpoint; no algorithm's own."""


class AveragedBuffers:
    """One value of each buffer for all clients: the mean of a round's replies, weighted by the number of examples.

    That of whole numbers, such as batch norm's count of batches, is rounded.

    Args:
        values: at first; none where buffers stay on the clients or training changes none.
    """

    def __init__(self, values: Arrays) -> None:
        self.values = values

    def expected(self) -> Mapping[str, Expected]:
        """Return the buffers that a reply must hold."""
        return {name: Expected.like(array) for name, array in self.values.items()}

    def combine(self, replies: Sequence[Reply]) -> None:
        """Take the mean of replies of clients that have trained."""
        if self.values:
            self.values = mean(Replies([replace(reply, arrays=reply.buffers) for reply in replies]), self.values)

    def state(self) -> Arrays:
        """Return them as a checkpoint has them."""
        return {f"{PREFIX}{name}": array for name, array in self.values.items()}

    def take_state(self, arrays: Arrays) -> Arrays:
        """Take back what `state` returned, and return the other arrays of the checkpoint."""
        if not self.values:
            return arrays
        self.values = {name: arrays[f"{PREFIX}{name}"] for name in self.values}
        return {name: array for name, array in arrays.items() if not name.startswith(PREFIX)}
