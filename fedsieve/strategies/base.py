"""The round loop that all algorithms share, as a Flower Strategy."""

import logging
import math
import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, Metadata, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from fedsieve import seeds
from fedsieve.algorithm import AlgorithmConfig
from fedsieve.config import RunConfig
from fedsieve.errors import RunFailedError
from fedsieve.models import Shape
from fedsieve.strategies.latest import LatestMetrics
from fedsieve.strategies.patience import Patience
from fedsieve.strategies.rounds import Observer, Round, without_arrays
from fedsieve.strategies.screening import ClientReply, Expected, screen
from fedsieve.wire import Arrays, payload_bytes, serialized_bytes, to_arrays, to_record

_log = logging.getLogger("fedsieve")

Settings = TypeVar("Settings", bound=AlgorithmConfig)


class FederatedStrategy(Strategy, Generic[Settings]):
    """Flower Strategy with seeded sampling, screened replies, observers and early stopping.

    An algorithm's own strategy says only what is sent to a client (`arrays_for`), what an answer must look like
    (`expected`) and how answers are combined (`combine`). A client evaluates in its train message, before and after
    training, so there is no evaluate phase.

    Args:
        run: the run's configuration.
        settings: the algorithm's own keys.
        shape: what the clients' data decides about the network.
        nodes: Flower's node id of each client, by the client's stable id (`partition-id`).
        observers: told of each round.
        watched: hands on the replies, of so many clients, of the last training that is for the metric only, as they
            come; a display.

    Attributes:
        begun: whether `initialise` is done, and so there is something to keep.
        place: where each of the round's participants stands among them.
    """

    def __init__(
        self,
        run: RunConfig,
        settings: Settings,
        shape: Shape,
        nodes: Mapping[int, int],
        observers: Sequence[Observer] = (),
        watched: Callable[[Iterable[Message], int], Iterable[Message]] = lambda replies, _: replies,
    ) -> None:
        self.run, self.settings, self.shape = run, settings, shape
        self.nodes = dict(sorted(nodes.items()))
        self.observers, self.watched = observers, watched
        self._client_of = {node: client for client, node in self.nodes.items()}
        self.begun = False
        self._asked: dict[int, Metadata] = {}
        self._sent: dict[int, tuple[int, int]] = {}
        self._replies: list[ClientReply] = []
        self._rejected: dict[int, str] = {}
        self._latest = LatestMetrics()
        self.place: dict[int, int] = {}

    @abstractmethod
    def initialise(self, initial: Arrays) -> None:
        """Begin a run from the initial weights."""

    @abstractmethod
    def arrays_for(self, client: int) -> Arrays:
        """Return what `client` is sent; of one or two objects for many clients each is serialised once."""

    @abstractmethod
    def expected(self) -> Mapping[str, Expected]:
        """Return the arrays that a reply must hold."""

    @abstractmethod
    def combine(self, replies: Sequence[ClientReply]) -> None:
        """Combine a round's usable replies: at least one, sorted by client, each from a client that has trained."""

    def unpack(self, client: int, arrays: Arrays) -> Arrays:
        """Return what a reply's arrays, of the expected shapes, stand for: decode what the client has coded.

        Raises:
            ValueError: they stand for nothing; one clause, which is why the reply is left out.
        """
        return arrays

    def hold(self, reply: ClientReply) -> ClientReply:
        """Return what waits of a usable reply until `combine`: its arrays may have been put elsewhere."""
        return reply

    def left_out(self, client: int) -> None:
        """Note that `client` was sent a message and gave no usable reply."""

    def global_model(self) -> Arrays | None:
        """Return the weights, masks folded in, of the one model that all clients share; None where there is none."""
        return None

    def server_arrays(self) -> Arrays:
        """Return what the server remembers, for the checkpoint."""
        return {}

    def server_arrays_of(self, client: int) -> Arrays:
        """Return what the server remembers for `client` alone, for the checkpoint; empty where that is nothing."""
        return {}

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Run up to `num_rounds` rounds, fewer where `patience` runs out.

        Args:
            grid: anything that moves messages.
            initial_arrays: the initial weights by plain parameter name.
            num_rounds: at least 0.
            timeout: seconds to wait for a round's replies.
            train_config: goes into each train message.
            evaluate_config, evaluate_fn: of Flower's signature; not used.

        Raises:
            RunFailedError: fewer than `min-clients` of a round's clients gave a usable reply; who failed and why.
        """
        self.initialise(to_arrays(initial_arrays))
        self.begun = True
        config, result = train_config or ConfigRecord(), Result()
        patience, sampled = Patience(self.run.patience), set[int]()
        for number in range(1, num_rounds + 1):
            finished = self._play(number, self.sample(number), grid, initial_arrays, config, timeout, combine=True)
            sampled |= set(finished.participants)
            result.train_metrics_clientapp[number] = MetricRecord(dict(finished.means))
            if patience.runs_out(finished.means.get("val-accuracy", -math.inf), len(self._latest.by_client)):
                _log.info("stopped after round %d: no better validation accuracy in %d rounds", number, patience.limit)
                break
        if sampled and (never := tuple(client for client in self.nodes if client not in sampled)):
            self._play(number + 1, never, grid, initial_arrays, config, timeout, combine=False)
        return result

    @property
    def sample_size(self) -> int:
        """Number of clients that take part in a round."""
        return max(1, math.floor(self.run.fraction_train * len(self.nodes) + 1e-9))

    def sample(self, number: int) -> tuple[int, ...]:
        """Return the sorted ids of the clients that take part in round `number`: the same for the same seed."""
        clients = list(self.nodes)
        order = seeds.random_state(self.run.seed, "sampling", round_=number).permutation(len(clients))
        chosen = order[: self.sample_size]
        return tuple(clients[index] for index in sorted(chosen))

    def configure_train(
        self,
        server_round: int,
        arrays: ArrayRecord,
        config: ConfigRecord,
        grid: Grid,
    ) -> Iterable[Message]:
        """Yield the round's train messages, one after the other, so that a grid need not hold them all."""
        return self._messages(server_round, self.sample(server_round), config)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Screen the replies, sort them by client and combine the usable ones."""
        self._screen(server_round, replies, self.hold)
        enough = len(self._replies) >= self._needed(self._asked)
        if enough and (trained := [reply for reply in self._replies if reply.num_examples > 0]):
            self.combine(trained)
        return None, None

    def configure_evaluate(
        self,
        server_round: int,
        arrays: ArrayRecord,
        config: ConfigRecord,
        grid: Grid,
    ) -> Iterable[Message]:
        """Return no messages: clients evaluate when they train."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Return None: there is nothing to aggregate."""
        return None

    def summary(self) -> None:
        """Log the strategy and its keys."""
        _log.info("%s, %d clients, %s", type(self).__name__, len(self.nodes), self.settings.model_dump(by_alias=True))

    def _play(
        self,
        number: int,
        participants: tuple[int, ...],
        grid: Grid,
        arrays: ArrayRecord,
        config: ConfigRecord,
        timeout: float,
        *,
        combine: bool,
    ) -> Round:
        began = time.perf_counter()
        self._asked, self._sent = {}, {}
        if combine:
            messages = self.configure_train(number, arrays, config, grid)
            self.aggregate_train(number, grid.send_and_receive(messages, timeout=timeout))
        else:
            replies = grid.send_and_receive(self._messages(number, participants, config), timeout=timeout)
            self._screen(number, self.watched(replies, len(participants)), without_arrays)
        answered = {*self._rejected, *(reply.client for reply in self._replies)}
        self._rejected |= {client: "no reply in time" for client in participants if client not in answered}
        for client, reason in self._rejected.items():
            _log.warning("round %d: client %d is left out: %s", number, client, reason)
            self.left_out(client)
        self._latest.update(self._replies)
        finished = Round(
            number=number,
            participants=participants,
            replies=tuple(self._replies),
            rejected=dict(sorted(self._rejected.items())),
            downlink_bytes={client: sizes[0] for client, sizes in sorted(self._sent.items())},
            downlink_payload_bytes={client: sizes[1] for client, sizes in sorted(self._sent.items())},
            for_metric_only=not combine,
            means=self._latest.means(),
            seconds=time.perf_counter() - began,
        )
        for observer in self.observers:
            observer.round_finished(finished)
        if combine and len(finished.replies) < self._needed(participants):
            client, reason = next(iter(finished.rejected.items()))
            usable = len(finished.replies) or "none"
            raise RunFailedError(
                f"round {number}: {usable} of {len(participants)} clients gave a usable reply"
                f"{f', min-clients: {self.run.min_clients}' if finished.replies else ''}; client {client}: {reason}."
            )
        return finished

    def _needed(self, participants: Collection[int]) -> int:
        """Return how many of a round's clients have to give a usable reply: `min-clients`, or all where fewer are."""
        return min(self.run.min_clients, len(participants))

    def _messages(self, number: int, participants: Iterable[int], config: ConfigRecord) -> Iterable[Message]:
        participants = tuple(participants)
        self.place = {client: place for place, client in enumerate(participants)}
        last: list[tuple[Arrays, ArrayRecord, tuple[int, int]]] = []
        shared = ConfigRecord(dict(config) | {"round": number})
        for client in participants:
            arrays = self.arrays_for(client)
            known = next((known for known in last if known[0] is arrays), None)
            if known is None:
                record = to_record(arrays)
                sent = RecordDict({"arrays": record, "config": shared})
                known = arrays, record, (serialized_bytes(sent), payload_bytes(sent))
                last = [*last[-1:], known]
            _, record, self._sent[client] = known
            content = RecordDict({"arrays": record, "config": shared})
            message = Message(content, self.nodes[client], MessageType.TRAIN, group_id=str(number))
            self._asked[client] = message.metadata
            yield message

    def _screen(self, number: int, replies: Iterable[Message], hold: Callable[[ClientReply], ClientReply]) -> None:
        expected = self.expected()
        usable: dict[int, ClientReply] = {}
        asked_by: dict[str, int] = {}
        self._rejected = {}
        for message in replies:
            client = self._client_of.get(message.metadata.src_node_id)
            if client is None and message.has_error():  # the SuperLink itself answers for a node that it has lost
                if message.metadata.reply_to_message_id not in asked_by:
                    asked_by = {metadata.message_id: asked for asked, metadata in self._asked.items()}
                client = asked_by.get(message.metadata.reply_to_message_id)
            if client is None or client not in self._asked or client in usable or client in self._rejected:
                _log.warning("round %d: an unasked reply of node %d is ignored", number, message.metadata.src_node_id)
                continue
            outcome = screen(client, message, expected, self.unpack)
            if isinstance(outcome, ClientReply):
                usable[client] = hold(outcome)
            else:
                self._rejected[client] = outcome
        self._replies = [usable[client] for client in sorted(usable)]
