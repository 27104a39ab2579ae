"""Messages made by hand, and a grid that hands them out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fedsieve.algorithms import load_algorithm
from fedsieve.config import RunConfig
from fedsieve.contract import Arrays, Shape
from fedsieve.models import setting_of
from fedsieve.runs.history import History
from fedsieve.runs.rounds import Round
from fedsieve.server.loop import RoundLoop
from fedsieve.simulations.flower_internals import take_identity
from fedsieve.strategy import FederatedStrategy

SHAPE = Shape((5,), 3)

METRICS: dict[str, float] = {
    "num-examples": 4,
    "train-loss": 0.7,
    "val-count": 10,
    "test-count": 20,
    "received-val-accuracy": 0.25,
    "received-test-accuracy": 0.125,
    "val-accuracy": 0.5,
    "test-accuracy": 0.75,
    "test-macro-f1": 0.375,
}


def asking(node: int = 2, kind: str = "train") -> Message:
    """Return a message to a node."""
    take_identity(1)
    return Message(RecordDict(), node, kind)


def reply(
    to: Message, arrays: Mapping[str, np.ndarray | Array] | None = None, metrics: Mapping[str, Any] | None = None
) -> Message:
    """Return a reply with arrays, serialised by Flower's own code, and metrics."""
    record = ArrayRecord({name: a if isinstance(a, Array) else Array(a) for name, a in (arrays or {}).items()})
    content = RecordDict({"arrays": record, "metrics": MetricRecord(dict(METRICS if metrics is None else metrics))})
    return Message(content, reply_to=to)


def failure(to: Message, code: int = 2, reason: str = "it broke") -> Message:
    """Return an error reply."""
    return Message(Error(code, reason), reply_to=to)


Answer = Callable[[int, int, Message], Message | None]
"""(client, round, message) -> the reply, None for none."""


class FakeGrid(Grid):
    """Answers by a function; node ids are 100 - client, so that their order is not the clients'.

    Like Flower's own grids it takes all messages before it hands out a reply.
    """

    def __init__(self, num_clients: int, answer: Answer, arrange: Callable[[Sequence[Message]], Any] = list) -> None:
        self.nodes = {client: 100 - client for client in range(num_clients)}
        self.sent: list[tuple[int, int, dict[str, np.ndarray]]] = []
        self._answer, self._arrange = answer, arrange
        self._run = take_identity(1)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        replies = []
        for number, message in enumerate(messages):
            client, round_ = 100 - message.metadata.dst_node_id, int(message.content["config"]["round"])
            message.metadata.__dict__["_message_id"] = f"{round_}-{number}"
            arrays = {name: array.numpy().copy() for name, array in message.content["arrays"].items()}
            self.sent.append((round_, client, arrays))
            if (answer := self._answer(client, round_, message)) is not None:
                replies.append(answer)
        return self._arrange(replies)

    def sent_to(self, client: int) -> list[dict[str, np.ndarray]]:
        """Return the arrays sent to a client, by round."""
        return [arrays for _, asked, arrays in self.sent if asked == client]

    def asked(self, round_: int) -> list[int]:
        """Return who was asked in a round, in order."""
        return [client for number, client, _ in self.sent if number == round_]

    def set_run(self, run: Run) -> None:
        self._run = run

    @property
    def run(self) -> Run:
        return self._run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return list(self.nodes.values())

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError


def strategy_of(run: RunConfig, shape: Shape = SHAPE) -> FederatedStrategy:
    """Return the strategy that a run has, over clients whose data have this shape."""
    return load_algorithm(run.algorithm).load_strategy().for_run(setting_of(run, shape), run.settings)


def rounds_played(run: RunConfig, strategy: FederatedStrategy, grid: FakeGrid, initial: Arrays) -> list[Round]:
    """Play all of a run's rounds, and return them."""
    history = History()
    RoundLoop(run, strategy, grid.nodes, observers=[history]).play(grid, initial)
    return history.rounds
