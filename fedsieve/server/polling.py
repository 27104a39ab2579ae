"""A Grid over Flower's own that looks for replies often, hands them out as they come, and may stop waiting."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError
from flwr.supercore.run import Run

from fedsieve.errors import one_line

_log = logging.getLogger("fedsieve")

TRIES, PAUSE = 10, 3.0
"""How often a message is pushed at most, and seconds between two attempts: a SuperLink takes a few to start."""


class PollingGrid(Grid):
    """Flower's Grid, asked for replies every `interval` seconds instead of every 3.

    Messages are sent one at a time, so that a round need not be in memory whole nor fit into one request.

    Args:
        grid: Flower's own.
        interval: seconds between two looks for replies.
        look: called after each look that left something to wait for; what it raises ends the wait.

    Attributes:
        until: when the wait for replies ends, by the monotonic clock.
        largest: bytes of the arrays of the largest message sent.
    """

    def __init__(self, grid: Grid, interval: float, look: Callable[[], None] = lambda: None) -> None:
        self._grid, self._interval, self._look = grid, interval, look
        self.until = math.inf
        self.largest = 0

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Yield replies as they come, those within `timeout` seconds after the last message was sent.

        A reply that takes its time to be pulled may outlast the wait: what has come meanwhile is handed out too.
        """
        waiting = {message_id for message in messages for message_id in self._pushed(message)}
        self.until = math.inf if timeout is None else time.monotonic() + timeout
        while waiting:
            is_last = time.monotonic() >= self.until
            for reply in self._grid.pull_messages(waiting):
                waiting.discard(reply.metadata.reply_to_message_id)
                yield reply
            if is_last:
                return
            if waiting:
                self._look()
                time.sleep(self._interval)

    def time_left(self) -> float:
        """Return the seconds until the wait ends."""
        return self.until - time.monotonic()

    def _pushed(self, message: Message) -> Iterable[str]:
        size = sum(len(array.data) for record in message.content.array_records.values() for array in record.values())
        self.largest = max(self.largest, size)
        for _ in range(TRIES):
            try:
                pushed = [
                    message_id or message.metadata.message_id for message_id in self._grid.push_messages([message])
                ]
            except ObjectPushError as error:  # the SuperLink was started again meanwhile, and has forgotten the session
                _log.warning("a message could not be pushed and is pushed again: %s", one_line(error))
                time.sleep(PAUSE)
            else:
                return pushed
        return []

    def set_run(self, run: Run) -> None:
        """Set the run."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """The run."""
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Return a message from the server."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of all nodes."""
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have come."""
        return self._grid.pull_messages(message_ids)
