"""FedSieve's round loop: around an algorithm's strategy, what Flower's own `start` lacks."""

import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, Metadata, RecordDict
from flwr.serverapp import Grid

from fedsieve import seeds
from fedsieve.config import RunConfig
from fedsieve.contract import Arrays, Replies, Reply
from fedsieve.errors import RunFailedError
from fedsieve.recent import Recent
from fedsieve.rows import Storage
from fedsieve.runs.latest import LatestMetrics
from fedsieve.runs.rounds import Observer, Past, Round, drop_arrays
from fedsieve.server.averaged_buffers import AveragedBuffers
from fedsieve.server.interrupts import interrupts_wait
from fedsieve.server.magnitude import Norms, find_out_of_proportion, magnitudes
from fedsieve.server.patience import Patience
from fedsieve.server.screening import screen
from fedsieve.server.uploads import Uploads
from fedsieve.strategy import FederatedStrategy
from fedsieve.wire import BUFFERS, payload_bytes, serialized_bytes, to_record

_log = logging.getLogger("fedsieve")


class RoundLoop:
    """Plays an algorithm's rounds with seeded sampling, screened replies, observers, early stopping and resuming.

    A client evaluates in its train message, before and after training, so there is no evaluate phase.

    Args:
        run: the run's configuration.
        strategy: the algorithm's server half.
        nodes: Flower's node id of each client, by the client's stable id (`partition-id`).
        storage: where models are that need not be in memory; None: in memory.
        observers: notified of each round.
        watched: passes on a round's replies, of so many clients, as they come, with whether they will be combined or
            are for the metric only; a display.
        names: what messages call clients that have a name, by id; others are called by their id.
        buffers: the network's buffers that are averaged, beside whatever the algorithm sends, as they are at first.

    Attributes:
        begun: whether the strategy has begun, and so there is something to keep.
        continues: last round after which a client, by id, gave a usable reply: its state is that after this round.
        buffers: those that are averaged.
        stopped: whether an observer has asked for the run's end.
    """

    def __init__(
        self,
        run: RunConfig,
        strategy: FederatedStrategy,
        nodes: Mapping[int, int],
        storage: Storage | None = None,
        observers: Sequence[Observer] = (),
        watched: Callable[[Iterable[Message], int, bool], Iterable[Message]] = lambda replies, *_: replies,
        names: Mapping[int, str] | None = None,
        buffers: Arrays | None = None,
    ) -> None:
        self.buffers = AveragedBuffers(buffers or {})
        self.run, self.strategy = run, strategy
        self.nodes = dict(sorted(nodes.items()))
        self.observers, self.watched, self._names = observers, watched, names or {}
        self.begun = self.stopped = False
        self.continues: dict[int, int] = {}
        self.strategy.storage = storage or Storage()
        self._uploads = Uploads(self.strategy.storage)
        self._client_of = {node: client for client, node in self.nodes.items()}
        self._asked: dict[int, Metadata] = {}
        self._sent: dict[int, tuple[int, int]] = {}
        self._sent_norms: dict[int, Norms] = {}
        self._replies: list[Reply] = []
        self._rejected: dict[int, str] = {}
        self._latest = LatestMetrics()
        self._sampled: set[int] = set()
        self._acknowledged: set[int] = set()
        self._patience = Patience(run.patience)

    def play(self, grid: Grid, initial: Arrays, config: ConfigRecord | None = None, past: Past | None = None) -> None:
        """Play up to `num-rounds` rounds, fewer where `patience` runs out; continue after those of `past`.

        Args:
            grid: anything that moves messages.
            initial: the initial weights by plain parameter name.
            config: goes into each train message.
            past: the rounds that the run has behind it.

        Raises:
            RunFailedError: fewer than `min-clients` of a round's clients gave a usable reply; who failed and why.
            UserError: the strategy cannot be resumed.
        """
        self.strategy.begin(initial)
        config, number, ended = config or ConfigRecord(), 0, False
        if past is not None:
            for round_ in past.rounds:
                self._latest.update(round_.replies)
                self._note(round_)
                number, ended = round_.number, self._runs_out(round_)
            self.strategy.load_state(self.buffers.take_state(past.arrays))
            for client, arrays in past.of_clients:
                self.strategy.load_state_of(client, arrays)
        self.begun = True
        while number < self.run.num_rounds and not (ended or self.stopped):
            number += 1
            finished = self._play_round(number, self.sample(number), grid, config, combine=True)
            ended = self._runs_out(finished)
        if ended:
            _log.info("stopped after round %d: no better validation accuracy in %d rounds", number, self.run.patience)
        if self._sampled and (never := tuple(client for client in self.nodes if client not in self._sampled)):
            self._play_round(number + 1, never, grid, config, combine=False)

    def state(self) -> Arrays:
        """Return what the server remembers, for a checkpoint."""
        return self.strategy.state() | self.buffers.state()

    def latest_counts(self) -> dict[int, int]:
        """Return the number of training examples of each client heard of."""
        return {client: int(metrics["num-examples"]) for client, metrics in self._latest.by_client.items()}

    def name_of(self, client: int) -> str:
        """Return what messages call a client."""
        return self._names.get(client, f"client {client}")

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

    def _play_round(
        self, number: int, participants: tuple[int, ...], grid: Grid, config: ConfigRecord, *, combine: bool
    ) -> Round:
        began = time.perf_counter()
        self._asked, self._sent, self._sent_norms = {}, {}, {}
        messages = self._messages(number, participants, config)
        came = grid.send_and_receive(messages, timeout=self.run.round_timeout)
        replies = self.watched(came, len(participants), combine)
        self._uploads.begin_round(self.strategy.expected() if combine else {}, len(participants))
        self._screen(number, replies, self._uploads.keep if combine else drop_arrays)
        answered = {*self._rejected, *(reply.client for reply in self._replies)}
        self._rejected |= {client: "no reply in time" for client in participants if client not in answered}
        with interrupts_wait():
            if combine:
                self._combine()
            for client, reason in self._rejected.items():
                _log.warning("round %d: %s is rejected: %s", number, self.name_of(client), reason)
            self._latest.update(self._replies)
            finished = Round(
                number=number,
                participants=participants,
                replies=tuple(map(drop_arrays, self._replies)),
                rejected=dict(sorted(self._rejected.items())),
                downlink_bytes={client: sizes[0] for client, sizes in sorted(self._sent.items())},
                downlink_payload_bytes={client: sizes[1] for client, sizes in sorted(self._sent.items())},
                for_metric_only=not combine,
                failed=combine and len(self._replies) < self._needed(participants),
                means=self._latest.means(),
                seconds=time.perf_counter() - began,
            )
            self._replies = []
            self._note(finished)
            for client in finished.lost:
                _log.warning("round %d: %s starts from nothing: its state was not there", number, self.name_of(client))
            for observer in self.observers:
                self.stopped |= observer.round_finished(finished) is True
        if finished.failed:
            client, reason = next(iter(finished.rejected.items()))
            usable = len(finished.replies) or "none"
            raise RunFailedError(
                f"round {number}: {usable} of {len(participants)} clients gave a usable reply"
                f"{f', min-clients: {self.run.min_clients}' if finished.replies else ''}; "
                f"{self.name_of(client)}: {reason}."
            )
        return finished

    def _needed(self, participants: Collection[int]) -> int:
        """Return how many of a round's clients have to give a usable reply: `min-clients`, or all where fewer are."""
        return min(self.run.min_clients, len(participants))

    def _combine(self) -> None:
        enough = len(self._replies) >= self._needed(self._asked)
        if enough and (trained := [reply for reply in self._replies if reply.num_examples > 0]):
            self.strategy.combine(Replies(trained))
            self.buffers.combine(trained)

    def _note(self, round_: Round) -> None:
        """Remember who took part in a round, and what of each client's is the newest."""
        usable = round_.usable
        self._acknowledged = (self._acknowledged - round_.rejected.keys()) | usable
        self.continues |= dict.fromkeys(usable, round_.number)
        if not round_.for_metric_only:
            self._sampled.update(round_.participants)

    def _runs_out(self, round_: Round) -> bool:
        return self._patience.runs_out(round_.means.get("val-accuracy", -math.inf), len(self._latest.by_client))

    def _messages(self, number: int, participants: Iterable[int], config: ConfigRecord) -> Iterable[Message]:
        recent = Recent(_serialise)
        averaged = to_record(self.buffers.values)
        for client in participants:
            record, self._sent_norms[client] = recent(self.strategy.broadcast(client, client in self._acknowledged))
            addressed = ConfigRecord(dict(config) | {"round": number, "continues": self.continues.get(client, 0)})
            content = RecordDict({"arrays": record, "config": addressed})
            if averaged:
                content[BUFFERS] = averaged
            self._sent[client] = (serialized_bytes(content), payload_bytes(content))
            message = Message(content, self.nodes[client], MessageType.TRAIN, group_id=str(number))
            self._asked[client] = message.metadata
            yield message

    def _has_asked(self, client: int, reply: Message) -> bool:
        """Return whether the reply answers the client's own message, whose id no other node has seen."""
        asked = self._asked.get(client)
        return asked is not None and reply.metadata.reply_to_message_id == asked.message_id

    def _screen(self, number: int, replies: Iterable[Message], hold: Callable[[Reply], Reply]) -> None:
        expected = self.strategy.expected()
        usable: dict[int, Reply] = {}
        norms: dict[int, Norms] = {}
        norms_of_buffers: dict[int, Norms] = {}
        buffers = self.buffers.expected()
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
            outcome = screen(client, message, expected, self.strategy.unpack, buffers)
            if isinstance(outcome, Reply):
                norms[client] = magnitudes(dict(outcome.arrays))
                norms_of_buffers[client] = magnitudes(dict(outcome.buffers))
                usable[client] = hold(outcome)
            else:
                self._rejected[client] = outcome
        too_large = find_out_of_proportion(norms, self._sent_norms, self.run.norm_limit)
        if buffers:
            sent = dict.fromkeys(norms_of_buffers, magnitudes(self.buffers.values))
            too_large = find_out_of_proportion(norms_of_buffers, sent, self.run.norm_limit) | too_large
        self._rejected |= too_large
        self._replies = [usable[client] for client in sorted(usable.keys() - too_large.keys())]


def _serialise(arrays: Arrays) -> tuple[ArrayRecord, Norms]:
    return to_record(arrays), magnitudes(arrays)
