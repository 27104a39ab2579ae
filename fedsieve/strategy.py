"""The server half of an algorithm as a Flower Strategy.

An algorithm says how it begins, what a client is sent, what a reply must hold, what it stands for, and how a round's
replies are combined; and, so that a run can be resumed, what its state is. With that, its strategy runs in anybody's
ServerApp under Flower's own `start`. FedSieve's round loop (`fedsieve.server.loop`) goes around the same object.
"""

import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from logging import getLogger
from typing import Any, NoReturn, Self

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg as FlowerFedAvg
from pydantic import BaseModel

from fedsieve.contract import Arrays, Expected, NDArray, Replies, Reply, Setting
from fedsieve.errors import UserError
from fedsieve.recent import Recent
from fedsieve.rows import Storage
from fedsieve.wire import checked_arrays, to_arrays, to_record

_log = getLogger("fedsieve")

Aggregate = Callable[[list[RecordDict], str], MetricRecord]


class FederatedStrategy(FlowerFedAvg):
    """A Flower Strategy that sends each client what is its own, and takes no reply that it has not checked.

    Under Flower's `start` a client is a node, known by its node id; under FedSieve's round loop it is known by its
    partition id. Nodes are sampled, evaluation is configured and metrics are averaged as Flower's FedAvg does, of which
    these are the arguments, with its defaults.

    Args:
        fraction_train: share of the nodes that train per round.
        fraction_evaluate: share of the nodes that evaluate per round.
        min_train_nodes: number of nodes that train per round, at least.
        min_evaluate_nodes: number of nodes that evaluate per round, at least.
        min_available_nodes: number of nodes that a round waits for.
        weighted_by_key: metric that weighs a client: its number of training examples.
        arrayrecord_key: name of the arrays' record in messages.
        configrecord_key: name of the configuration's record in messages.
        train_metrics_aggr_fn: aggregates the metrics of train replies; None: their weighted mean.
        evaluate_metrics_aggr_fn: aggregates those of evaluate replies; None: their weighted mean.

    Attributes:
        storage: where models are kept that the algorithm holds for many clients.
    """

    storage: Storage = Storage()

    def __init__(
        self,
        *,
        fraction_train: float = 1.0,
        fraction_evaluate: float = 1.0,
        min_train_nodes: int = 2,
        min_evaluate_nodes: int = 2,
        min_available_nodes: int = 2,
        weighted_by_key: str = "num-examples",
        arrayrecord_key: str = "arrays",
        configrecord_key: str = "config",
        train_metrics_aggr_fn: Aggregate | None = None,
        evaluate_metrics_aggr_fn: Aggregate | None = None,
    ) -> None:
        super().__init__(
            fraction_train,
            fraction_evaluate,
            min_train_nodes,
            min_evaluate_nodes,
            min_available_nodes,
            weighted_by_key,
            arrayrecord_key,
            configrecord_key,
            train_metrics_aggr_fn,
            evaluate_metrics_aggr_fn,
        )
        self._sent: ArrayRecord | None = None
        self._acknowledged: set[int] = set()

    @classmethod
    def for_run(cls, setting: Setting, keys: BaseModel, **others: Any) -> Self:
        """Return the strategy of a run of FedSieve's, made with those of its keys that are arguments of the class.

        A strategy that needs more of the run's setting overrides this and hands it on as `others`.

        Args:
            setting: what a strategy may need of the run.
            keys: the algorithm's own.
            others: further arguments of the class.
        """
        named = _arguments(cls)
        arguments = {name: value for name, value in keys if name in named}
        return cls(**(arguments | others), fraction_train=setting.fraction_train)

    @abstractmethod
    def begin(self, initial: Arrays) -> None:
        """Begin a run from the initial weights."""

    @abstractmethod
    def broadcast(self, client: int, acknowledged: bool) -> Arrays:
        """Return what a client is sent; of one or two objects for many clients each is serialised once.

        Args:
            client: who is asked to train.
            acknowledged: whether its last message got a usable reply; else it may have lost what it was sent before.
        """

    @abstractmethod
    def expected(self) -> Mapping[str, Expected]:
        """Return the arrays that a reply must hold."""

    @abstractmethod
    def combine(self, replies: Replies) -> None:
        """Combine a round's usable replies: at least one, sorted by client, each from a client that has trained."""

    def unpack(self, client: int, arrays: Arrays) -> Arrays:
        """Return what a reply's arrays, of the expected shapes, stand for: decode what the client has coded.

        Raises:
            ValueError: they stand for nothing; one clause, which is why the reply is rejected.
        """
        return arrays

    def state(self) -> Arrays:
        """Return what the server remembers, for a checkpoint; none of it is changed in place later."""
        return {}

    def state_of(self, client: int) -> Arrays:
        """Return what the server remembers for `client` alone, for a checkpoint; empty where that is nothing.

        It changes only in rounds in which the client takes part; none of it is changed in place later.
        """
        return {}

    def load_state(self, arrays: Arrays) -> None:
        """Take back, after `begin`, what `state` returned.

        Raises:
            UserError: the strategy does not say how.
        """
        self._cannot_resume()

    def load_state_of(self, client: int, arrays: Arrays) -> None:
        """Take back, after `load_state`, what `state_of` returned, where that was not empty.

        Raises:
            UserError: the strategy does not say how.
        """
        self._cannot_resume()

    def global_model(self) -> Arrays | None:
        """Return the weights, masks folded in, of the one model that all clients share; None where there is none."""
        return None

    def similarity_matrix(self) -> tuple[Sequence[int], NDArray] | None:
        """Return the clients compared last and how alike their models were, K x K; None where none were compared."""
        return None

    def client_config(self) -> dict[str, str | int | float]:
        """Return what clients of another ServerApp than FedSieve's have to know besides; it goes into each message."""
        return {}

    def result(self) -> Arrays | None:
        """Return the model that Flower's `start` returns and hands to `evaluate_fn`; None where there is none."""
        return self.global_model()

    def adopt(self, arrays: Arrays) -> None:
        """Take a global model that somebody else has changed since `aggregate_train` returned it: a wrapper's noise.

        Raises:
            ValueError: there is no global model that clients train from.
        """
        raise ValueError(f"{type(self).__name__} sends no global model, so that nobody else can change it")

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Sample nodes as Flower's FedAvg does, and send each what is its own."""
        if self._sent is None or server_round <= 1:  # an object may be started again
            self._acknowledged.clear()
            self.begin(to_arrays(arrays))
        elif arrays is not self._sent:
            self.adopt(to_arrays(arrays))
        self._sent = arrays
        return self._addressed(list(super().configure_train(server_round, arrays, config, grid)))

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Check the replies, sort them by node and combine the usable ones."""
        answered, failed = self._check_and_log_replies(replies, is_train=True, validate=False)
        self._acknowledged -= {message.metadata.src_node_id for message in failed}
        usable: dict[int, tuple[Reply, RecordDict]] = {}
        expected = self.expected()
        for message in answered:
            node = message.metadata.src_node_id
            self._acknowledged.discard(node)
            try:
                usable[node] = self._reply(node, message.content, expected), message.content
            except ValueError as error:
                _log.warning("round %d: node %d is rejected: %s", server_round, node, error)
                continue
            self._acknowledged.add(node)
        trained = Replies([reply for reply, _ in usable.values() if reply.num_examples > 0])
        if not trained:
            return None, None
        self.combine(trained)
        metrics = self.train_metrics_aggr_fn([usable[node][1] for node in trained.clients], self.weighted_by_key)
        model = self.result()
        if model is None:
            return None, metrics
        self._sent = to_record(model)
        return self._sent, metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Sample nodes as Flower's FedAvg does, and send each what is its own."""
        return self._addressed(list(super().configure_evaluate(server_round, arrays, config, grid)))

    def _addressed(self, messages: Sequence[Message]) -> Iterable[Message]:
        """Put into each message what its node is sent."""
        recent = Recent[Arrays, ArrayRecord](to_record)
        for message in messages:
            node = message.metadata.dst_node_id
            record = recent(self.broadcast(node, node in self._acknowledged))
            config = ConfigRecord({**message.content.config_records[self.configrecord_key], **self.client_config()})
            message.content = RecordDict({self.arrayrecord_key: record, self.configrecord_key: config})
            yield message

    def _reply(self, node: int, content: RecordDict, expected: Mapping[str, Expected]) -> Reply:
        """Return the reply of a stock ClientApp: one ArrayRecord and one MetricRecord with the number of examples."""
        if len(content.array_records) != 1 or len(content.metric_records) != 1:
            raise ValueError("it does not hold one ArrayRecord and one MetricRecord")
        (record,), (metrics,) = content.array_records.values(), content.metric_records.values()
        arrays = self.unpack(node, checked_arrays(record, expected))
        count: Any = metrics.get(self.weighted_by_key)
        if not isinstance(count, int | float) or not 0 <= count < float("inf"):
            raise ValueError(f"its metric {self.weighted_by_key} is {count!r}, not a count")
        numbers = {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
        return Reply(node, arrays, numbers | {"num-examples": count})

    def _cannot_resume(self) -> NoReturn:
        raise UserError(f"algorithm: the strategy {type(self).__name__} has no load_state, so no run can be resumed.")


def _arguments(strategy: type[FederatedStrategy]) -> set[str]:
    """Return the names of a strategy's own arguments, and of its base's where it hands on what it does not name."""
    names: set[str] = set()
    for base in strategy.__mro__[: strategy.__mro__.index(FederatedStrategy)]:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        names |= {one.name for one in parameters if one.kind in {one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY}}
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            break
    return names
