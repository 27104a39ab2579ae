from typing import Any

import pytest
from flwr.app import Message
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError

from fedsieve.server.polling import PollingGrid
from tests.messages import FakeGrid, asking, failure


class Polled(FakeGrid):
    """A grid whose replies come one at each pull, and at last no more; it takes one message at a time."""

    def __init__(self, replies: int) -> None:
        super().__init__(2, lambda *_: None)
        self._left, self.asked = replies, list[Message]()

    def push_messages(self, messages: Any) -> list[str]:
        (message,) = messages
        message.metadata.__dict__["_message_id"] = str(len(self.asked))
        self.asked.append(message)
        return [message.metadata.message_id]

    def pull_messages(self, message_ids: Any) -> list[Message]:
        if not self._left:
            return []
        self._left -= 1
        return [failure(next(message for message in self.asked if message.metadata.message_id in message_ids))]


def test_replies_are_handed_out_as_they_come():
    grid = Polled(2)
    replies = PollingGrid(grid, 0.01).send_and_receive(asking(node) for node in (2, 3))
    assert [reply.metadata.reply_to_message_id for reply in replies] == ["0", "1"]
    assert [message.metadata.dst_node_id for message in grid.asked] == [2, 3], "an iterator is read once"


def test_a_message_whose_push_a_superlinks_restart_broke_off_is_pushed_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fedsieve.server.polling.PAUSE", 0.0)

    class Restarting(Polled):
        failures = 2

        def push_messages(self, messages: Any) -> list[str]:
            found = super().push_messages(messages)
            if self.failures:
                self.failures -= 1
                self.asked.pop()
                raise ObjectPushError("an object", 1, "a session")
            return found

    assert len(list(PollingGrid(Restarting(1), 0.01).send_and_receive([asking(2)]))) == 1
    grid = Restarting(1)
    grid.failures = 99
    assert list(PollingGrid(grid, 0.01).send_and_receive([asking(2)])) == []


def test_waiting_ends_in_time():
    assert len(list(PollingGrid(Polled(1), 0.01).send_and_receive([asking(2), asking(3)], timeout=0.1))) == 1


def test_what_looking_raises_ends_the_wait():
    def look() -> None:
        raise RuntimeError("gone")

    with pytest.raises(RuntimeError, match="gone"):
        list(PollingGrid(Polled(0), 0.01, look).send_and_receive([asking(2)]))
