"""The round loop that all algorithms share, as a Flower Strategy."""

import logging
import math
import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Generic, NoReturn, TypeVar

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, Metadata, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from fedsieve import seeds
from fedsieve.algorithm import AlgorithmConfig
from fedsieve.config import RunConfig
from fedsieve.errors import RunFailedError, UserError
from fedsieve.models import Shape
from fedsieve.strategies.interrupts import interrupts_wait
from fedsieve.strategies.latest import LatestMetrics
from fedsieve.strategies.magnitude import Norms, magnitudes, out_of_proportion
from fedsieve.strategies.patience import Patience
from fedsieve.strategies.rounds import Observer, Past, Round, without_arrays
from fedsieve.strategies.screening import ClientReply, Expected, screen
from fedsieve.wire import Arrays, NDArray, payload_bytes, serialized_bytes, to_arrays, to_record

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
        watched: hands on a round's replies, of so many clients, as they come, told whether they will be combined or are
            for the metric only; a display.

    Attributes:
        names: what messages call clients that have a name, by id; others are called by their id.
        begun: whether `initialise` is done, and so there is something to keep.
        place: where each of the round's participants stands among them.
        heard: clients whose last message got a usable reply; another may have lost what it was sent before.
        continues: last round after which a client, by id, gave a usable reply: its state is that after this round.
    """

    def __init__(
        self,
        run: RunConfig,
        settings: Settings,
        shape: Shape,
        nodes: Mapping[int, int],
        observers: Sequence[Observer] = (),
        watched: Callable[[Iterable[Message], int, bool], Iterable[Message]] = lambda replies, *_: replies,
    ) -> None:
        self.run, self.settings, self.shape = run, settings, shape
        self.nodes = dict(sorted(nodes.items()))
        self.observers, self.watched = observers, watched
        self._client_of = {node: client for client, node in self.nodes.items()}
        self.names: Mapping[int, str] = {}
        self.begun = False
        self._asked: dict[int, Metadata] = {}
        self._sent: dict[int, tuple[int, int]] = {}
        self._sent_norms: dict[int, Norms] = {}
        self._replies: list[ClientReply] = []
        self._rejected: dict[int, str] = {}
        self._latest = LatestMetrics()
        self._sampled: set[int] = set()
        self._patience = Patience(run.patience)
        self._past: Past | None = None
        self.place: dict[int, int] = {}
        self.heard: set[int] = set()
        self.continues: dict[int, int] = {}

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
        """Return what waits of a usable reply until `combine`: its arrays may have been put elsewhere.

        Beside the other replies it may still turn out to be unusable, and is then not combined.
        """
        return reply

    def left_out(self, client: int) -> None:
        """Note that `client` was sent a message and gave no usable reply."""

    def global_model(self) -> Arrays | None:
        """Return the weights, masks folded in, of the one model that all clients share; None where there is none."""
        return None

    def likeness(self) -> tuple[Sequence[int], NDArray] | None:
        """Return the clients compared last and how alike their models were, K x K; None where none were compared."""
        return None

    def server_arrays(self) -> Arrays:
        """Return what the server remembers, for the checkpoint; none of it is changed in place later."""
        return {}

    def server_arrays_of(self, client: int) -> Arrays:
        """Return what the server remembers for `client` alone, for the checkpoint; empty where that is nothing.

        It changes only in rounds in which the client takes part; none of it is changed in place later.
        """
        return {}

    def restore(self, arrays: Arrays) -> None:
        """Take back, after `initialise`, what `server_arrays` returned.

        Raises:
            UserError: the strategy does not say how.
        """
        self._cannot_resume()

    def restore_of(self, client: int, arrays: Arrays) -> None:
        """Take back, after `restore`, what `server_arrays_of` returned, where that was not empty.

        Raises:
            UserError: the strategy does not say how.
        """
        self._cannot_resume()

    def go_on_from(self, past: Past) -> None:
        """Let `start` go on after the rounds of `past` instead of beginning with the first."""
        self._past = past

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
            num_rounds: at least 0, those before `go_on_from` included.
            timeout: seconds to wait for a round's replies.
            train_config: goes into each train message.
            evaluate_config, evaluate_fn: of Flower's signature; not used.

        Raises:
            RunFailedError: fewer than `min-clients` of a round's clients gave a usable reply; who failed and why.
        """
        self.initialise(to_arrays(initial_arrays))
        config, result, number, ended = train_config or ConfigRecord(), Result(), 0, False
        if self._past is not None:
            for round_ in self._past.rounds:
                self._latest.update(round_.replies)
                self._take(round_)
                number, ended = round_.number, self._runs_out(round_)
            self.restore(self._past.arrays)
            for client, arrays in self._past.of_clients:
                self.restore_of(client, arrays)
        self.begun = True
        while number < num_rounds and not ended:
            number += 1
            finished = self._play(number, self.sample(number), grid, initial_arrays, config, timeout, combine=True)
            result.train_metrics_clientapp[number] = MetricRecord(dict(finished.means))
            ended = self._runs_out(finished)
        if ended:
            _log.info("stopped after round %d: no better validation accuracy in %d rounds", number, self.run.patience)
        if self._sampled and (never := tuple(client for client in self.nodes if client not in self._sampled)):
            self._play(number + 1, never, grid, initial_arrays, config, timeout, combine=False)
        return result

    def called(self, client: int) -> str:
        """Return what messages call a client."""
        return self.names.get(client, f"client {client}")

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
        self._combine()
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
        self._asked, self._sent, self._sent_norms = {}, {}, {}
        messages = (
            self.configure_train(number, arrays, config, grid)
            if combine
            else self._messages(number, participants, config)
        )
        replies = self.watched(grid.send_and_receive(messages, timeout=timeout), len(participants), combine)
        self._screen(number, replies, self.hold if combine else without_arrays)
        answered = {*self._rejected, *(reply.client for reply in self._replies)}
        self._rejected |= {client: "no reply in time" for client in participants if client not in answered}
        with interrupts_wait():
            if combine:
                self._combine()
            for client, reason in self._rejected.items():
                _log.warning("round %d: %s is left out: %s", number, self.called(client), reason)
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
                failed=combine and len(self._replies) < self._needed(participants),
                means=self._latest.means(),
                seconds=time.perf_counter() - began,
            )
            self._take(finished)
            for client in finished.lost:
                _log.warning("round %d: %s has begun anew: its state was not there", number, self.called(client))
            for observer in self.observers:
                observer.round_finished(finished)
        if finished.failed:
            client, reason = next(iter(finished.rejected.items()))
            usable = len(finished.replies) or "none"
            raise RunFailedError(
                f"round {number}: {usable} of {len(participants)} clients gave a usable reply"
                f"{f', min-clients: {self.run.min_clients}' if finished.replies else ''}; "
                f"{self.called(client)}: {reason}."
            )
        return finished

    def _needed(self, participants: Collection[int]) -> int:
        """Return how many of a round's clients have to give a usable reply: `min-clients`, or all where fewer are."""
        return min(self.run.min_clients, len(participants))

    def _combine(self) -> None:
        enough = len(self._replies) >= self._needed(self._asked)
        if enough and (trained := [reply for reply in self._replies if reply.num_examples > 0]):
            self.combine(trained)

    def _take(self, round_: Round) -> None:
        """Remember who took part in a round, and what of each client's is the newest."""
        usable = round_.usable
        self.heard = (self.heard - round_.rejected.keys()) | usable
        self.continues |= dict.fromkeys(usable, round_.number)
        if not round_.for_metric_only:
            self._sampled.update(round_.participants)

    def _runs_out(self, round_: Round) -> bool:
        return self._patience.runs_out(round_.means.get("val-accuracy", -math.inf), len(self._latest.by_client))

    def _cannot_resume(self) -> NoReturn:
        name = type(self).__name__
        raise UserError(f"algorithm: {self.run.algorithm!r} cannot be resumed: its strategy {name} has no restore.")

    def _messages(self, number: int, participants: Iterable[int], config: ConfigRecord) -> Iterable[Message]:
        participants = tuple(participants)
        self.place = {client: place for place, client in enumerate(participants)}
        last: list[tuple[Arrays, ArrayRecord, Norms]] = []
        for client in participants:
            arrays = self.arrays_for(client)
            known = next((one for one in last if one[0] is arrays), None)
            if known is None:
                known = arrays, to_record(arrays), magnitudes(arrays)
                last = [*last[-1:], known]
            _, record, self._sent_norms[client] = known
            own = ConfigRecord(dict(config) | {"round": number, "continues": self.continues.get(client, 0)})
            content = RecordDict({"arrays": record, "config": own})
            self._sent[client] = (serialized_bytes(content), payload_bytes(content))
            message = Message(content, self.nodes[client], MessageType.TRAIN, group_id=str(number))
            self._asked[client] = message.metadata
            yield message

    def _has_asked(self, client: int, reply: Message) -> bool:
        """Return whether the reply answers the client's own message, whose id no other node has seen."""
        asked = self._asked.get(client)
        return asked is not None and reply.metadata.reply_to_message_id == asked.message_id

    def _screen(self, number: int, replies: Iterable[Message], hold: Callable[[ClientReply], ClientReply]) -> None:
        expected = self.expected()
        usable: dict[int, ClientReply] = {}
        norms: dict[int, Norms] = {}
        asked_by: dict[str, int] = {}
        self._rejected = {}
        for message in replies:
            client = self._client_of.get(message.metadata.src_node_id)
            if client is None and message.has_error():  # the SuperLink itself answers for a node that it has lost
                if message.metadata.reply_to_message_id not in asked_by:
                    asked_by = {metadata.message_id: asked for asked, metadata in self._asked.items()}
                client = asked_by.get(message.metadata.reply_to_message_id)
            if client is None or client in usable or client in self._rejected or not self._has_asked(client, message):
                _log.warning("round %d: an unasked reply of node %d is ignored", number, message.metadata.src_node_id)
                continue
            outcome = screen(client, message, expected, self.unpack)
            if isinstance(outcome, ClientReply):
                norms[client] = magnitudes(outcome.arrays)
                usable[client] = hold(outcome)
            else:
                self._rejected[client] = outcome
        too_large = out_of_proportion(norms, self._sent_norms, self.run.norm_limit)
        self._rejected |= too_large
        self._replies = [usable[client] for client in sorted(usable.keys() - too_large.keys())]
