"""Flower's own strategies as server halves of FedSieve's runs."""

from collections.abc import Iterable, Mapping
from typing import Any, Self, cast

import numpy as np
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid, strategy
from flwr.serverapp.strategy import Strategy
from flwr.supercore.run import Run
from pydantic import BaseModel

from fedsieve.contract import Arrays, Expected, NDArray, Replies, Setting
from fedsieve.errors import UserError, one_line
from fedsieve.protocols.flwr import FlwrConfig
from fedsieve.strategy import FederatedStrategy
from fedsieve.wire import to_record

TRAIN_LOSS = "train-loss"


class Flwr(FederatedStrategy):
    """Send one global model; the next is what a strategy of Flower's makes of the replies.

    The strategy is asked as Flower's `start` asks it, `configure_train` and then `aggregate_train`, with a Grid that
    has the round's clients alone; who takes part is the run's to say.

    Args:
        flowers: the strategy; it is to sample all nodes and to wait for none.
        flower: arguments of `fedsieve.strategy.FederatedStrategy`, such as `fraction_train`.
    """

    def __init__(self, flowers: Strategy, **flower: Any) -> None:
        super().__init__(**flower)
        self.flowers = flowers

    @classmethod
    def for_run(cls, setting: Setting, keys: BaseModel, **others: Any) -> Self:
        """Return the strategy of a run, made with its keys `flwr.*`.

        Raises:
            UserError: Flower refuses a key's value.
        """
        member = cast(FlwrConfig, keys).member
        everybody = {"min_train_nodes": 1, "min_evaluate_nodes": 1, "min_available_nodes": 1}
        loss = {"train_loss_key": TRAIN_LOSS} if member == "QFedAvg" else {}
        try:
            flowers = getattr(strategy, member)(**everybody, **loss, **dict(keys))
        except ValueError as error:
            raise UserError(f"flwr: {member} refuses {dict(keys)}: {one_line(error)}") from error
        return super().for_run(setting, keys, flowers=flowers, **others)

    def begin(self, initial: Arrays) -> None:
        """Begin from the initial weights."""
        self.weights, self.number = initial, 0

    def broadcast(self, client: int, acknowledged: bool) -> Arrays:
        """Return the global model."""
        return self.weights

    def expected(self) -> Mapping[str, Expected]:
        """A reply holds all weights."""
        return {name: Expected.like(array) for name, array in self.weights.items()}

    def combine(self, replies: Replies) -> None:
        """Let Flower's strategy aggregate the replies.

        Raises:
            UserError: it cannot, of so few replies for instance.
        """
        self.number += 1
        nodes = _Nodes(replies.clients)
        before = to_record(self.weights)
        try:
            asked = {
                message.metadata.dst_node_id: message
                for message in self.flowers.configure_train(self.number, before, ConfigRecord(), nodes)
            }
            answers = [_answer(asked[reply.client + FIRST], reply.arrays, reply.metrics) for reply in replies]
            combined, _ = self.flowers.aggregate_train(self.number, answers)
        except Exception as error:  # Flower's own, of several kinds
            name = type(self.flowers).__name__
            raise UserError(f"flwr: {name} cannot combine {len(replies)} replies: {one_line(error)}") from error
        if combined is not None:
            self.weights = {
                name: combined[name].numpy().astype(array.dtype, copy=False) for name, array in self.weights.items()
            }

    def global_model(self) -> Arrays:
        """Return the global model."""
        return self.weights

    def adopt(self, arrays: Arrays) -> None:
        """Continue from another global model."""
        self.weights = arrays

    def state(self) -> Arrays:
        """Return the global model, and the arrays that Flower's strategy remembers, such as moments."""
        remembered = {
            f"flower/{attribute}/{key}": array
            for attribute, value in vars(self.flowers).items()
            if attribute != CURRENT
            for key, array in _arrays_in(value).items()
        }
        return (
            {f"weights/{name}": array for name, array in self.weights.items()}
            | remembered
            | {"number": np.array(self.number)}
        )

    def load_state(self, arrays: Arrays) -> None:
        """Take back the global model and what Flower's strategy remembers.

        Raises:
            UserError: the strategy remembers something that is no array.
        """
        self.weights = {name: arrays[f"weights/{name}"] for name in self.weights}
        self.number = int(arrays["number"])
        remembered: dict[str, dict[str, NDArray]] = {}
        for name, array in arrays.items():
            if name.startswith("flower/"):
                _, attribute, key = name.split("/", 2)
                remembered.setdefault(attribute, {})[key] = array
        for attribute, values in remembered.items():
            if attribute not in vars(self.flowers):
                name = type(self.flowers).__name__
                raise UserError(f"algorithm: flwr:{name} cannot be resumed: this version of Flower has no {attribute}.")
            setattr(self.flowers, attribute, _as_remembered(values))


FIRST = 2
"""Node id of client 0 in messages to Flower's strategy: 1 is the SuperLink's."""

CURRENT = "current_arrays"
"""Attribute in which Flower's strategies keep the model that was sent, which is this strategy's own."""


def _answer(asked: Message, arrays: Mapping[str, NDArray], metrics: Mapping[str, float]) -> Message:
    record = MetricRecord({"num-examples": int(metrics["num-examples"]), TRAIN_LOSS: metrics[TRAIN_LOSS]})
    asked.metadata.__dict__["_message_id"] = str(asked.metadata.dst_node_id)
    return Message(RecordDict({"arrays": to_record(arrays), "metrics": record}), reply_to=asked)


def _arrays_in(value: object) -> dict[str, NDArray]:
    """Return the arrays of a dict, of a list, whose keys are then `[0]` and so on, or of neither."""
    items = {f"[{index}]": item for index, item in enumerate(value)} if isinstance(value, list) else value
    if not isinstance(items, dict):
        return {}
    return {str(key): item for key, item in items.items() if isinstance(item, np.ndarray)}


def _as_remembered(values: dict[str, NDArray]) -> dict[str, NDArray] | list[NDArray]:
    """Return a list of arrays as a list again."""
    if "[0]" in values:
        return [values[f"[{index}]"] for index in range(len(values))]
    return values


class _Nodes(Grid):
    """A Grid of a round's clients, of which Flower's strategies only ask who is there."""

    def __init__(self, clients: list[int]) -> None:
        self._nodes = [client + FIRST for client in clients]

    def get_node_ids(self) -> Iterable[int]:
        return self._nodes

    def set_run(self, run: Run) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Run:
        raise NotImplementedError

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise NotImplementedError
