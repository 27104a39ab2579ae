"""The ray engine: a Flower Grid over Ray actors, to each of which its clients are pinned."""

import logging
import math
import socket
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import ray
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.common.constant import ErrorCode

from fedsieve.client.app.holdings import deal_simulated
from fedsieve.config import RunConfig
from fedsieve.errors import RunFailedError, one_line
from fedsieve.recent import Recent
from fedsieve.runs.checkpoint_folder import CheckpointFolder
from fedsieve.runs.usage import PROCESSES
from fedsieve.simulations.flower_internals import SUPERLINK_NODE_ID
from fedsieve.simulations.grid import FIRST_NODE_ID, RUN_ID, MakeServer, SimulatedGrid, make_failed
from fedsieve.simulations.parcels import Answer, Question, pack_arrays, pack_rest, restore_message, unpack_answer
from fedsieve.simulations.ray_cluster import cluster, gpu_share
from fedsieve.simulations.ray_states import ReferredStates
from fedsieve.simulations.ray_worker import Worker

_log = logging.getLogger("fedsieve")

PATIENCE = 20.0
"""Seconds after which a user is told what is waited for."""

ATTEMPTS = 3
"""Times that a worker may die over one client's message before that client is left out of the round."""


class RayGrid(SimulatedGrid):
    """Sends each worker one call a round with the messages of its clients, and yields replies as they are made.

    Client i belongs to worker i modulo their number. An array record goes into Ray's object store once, however many
    clients are sent it. After each training the client's state comes back as a reference that this process owns, and
    goes out with the client's next message: the bytes stay in the object store of the worker's machine and outlive the
    worker. When a worker dies, Ray restarts it, and what it has not answered is asked again with the same states.

    Args:
        workers: handles of `Worker` actors.
        num_nodes: number of clients.
        states: the clients'.
    """

    def __init__(self, workers: Sequence[Any], num_nodes: int, states: ReferredStates) -> None:
        super().__init__(num_nodes)
        self._workers, self._states = workers, states
        self._calls: list[_Call] = []

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Yield the replies in the order in which they are made; those not made within `timeout` seconds are absent."""
        until = math.inf if timeout is None else time.monotonic() + timeout
        self._cancel()
        batches: dict[int, dict[int, Question]] = defaultdict(dict)
        put = Recent(_put)
        for message in map(self._numbered, messages):
            client = message.metadata.dst_node_id - FIRST_NODE_ID
            batch = batches[client % len(self._workers)]
            if not 0 <= client < self._num_nodes:
                yield make_failed(message, "no such node", ErrorCode.NODE_UNAVAILABLE)
                continue
            if client in batch:  # its state is needed first
                yield from self._exchanged(batches, until)
                batches.clear()
            batches[client % len(self._workers)][client] = self._question(message, client, put)
        yield from self._exchanged(batches, until)

    def _question(self, message: Message, client: int, put: Recent[ArrayRecord, Any]) -> Question:
        content, metadata = message.content, message.metadata
        config = content.config_records.get("config", ConfigRecord())
        continued = int(config.get("continues", 0))  # type: ignore[arg-type]
        return Question(
            metadata.message_id,
            client,
            metadata.message_type,
            metadata.group_id,
            metadata.ttl,
            pack_rest(content),
            {key: put(record) for key, record in content.array_records.items()},
            self._states.reference(client, continued),
            continued,
        )

    def _exchanged(self, batches: dict[int, dict[int, Question]], until: float) -> Iterator[Message]:
        self._calls = [_Call(self._workers[index], batch) for index, batch in batches.items() if batch]
        while self._calls:
            by_source = {call.source: call for call in self._calls}
            left = None if until == math.inf else max(0.0, until - time.monotonic())
            ready, _ = ray.wait(list(by_source), timeout=left, fetch_local=False)
            if not ready:
                self._restart_busy()
                return
            call = by_source[ready[0]]
            try:
                made = call.take()
            except ray.exceptions.RayError as error:
                if given_up := call.note_death(error):
                    yield given_up
            else:
                if made is not None:
                    state, answer = made
                    question = call.asked[call.client]
                    if answer.saved:
                        self._states.save(call.client, answer.saved, state, question.continued)
                    if answer.lost:
                        self._states.forget(call.client, question.continued)
                    yield unpack_answer(answer, call.take_question())
            if not call.asked:
                self._calls.remove(call)

    def _cancel(self) -> None:
        """Stop the calls of an exchange that was interrupted; a worker ends the message it is at."""
        for call in self._calls:
            ray.cancel(call.source)
        self._calls = []

    def _restart_busy(self) -> None:
        """Restart the workers that are out of time; their clients' states are not theirs and stay as they were."""
        for call in self._calls:
            ray.kill(call.worker, no_restart=False)
        self._calls = []


class _Call:
    """One call of a worker, and what of it is not answered yet, in the worker's order.

    Attributes:
        source: what to wait for: the stream of states and answers or, after a death, that the worker is up again.
    """

    def __init__(self, worker: Any, asked: dict[int, Question]) -> None:
        self.worker = worker
        self.asked: dict[int, Question] = dict(asked)
        self._deaths = 0
        self._ask()

    def _ask(self) -> None:
        answer = self.worker.answer.options(num_returns="streaming")
        self.source, self._up = answer.remote(list(self.asked.values())), True

    @property
    def client(self) -> int:
        """The client whose answer is next."""
        return next(iter(self.asked))

    def take(self) -> tuple[Any, Answer] | None:
        """Return the next client's new state, as a reference, and its answer; None if the worker has just come up."""
        if not self._up:
            _count(ray.get(self.source))
            self._ask()
            return None
        state = next(self.source)
        try:
            answer = next(self.source)
        except StopIteration:
            ray.get(state)  # raises what has ended the stream
            raise
        return state, ray.get(answer)

    def take_question(self) -> Question:
        """Take the next client's question off the list and return it."""
        self._deaths = 0
        return self.asked.pop(self.client)

    def note_death(self, error: Exception) -> Message | None:
        """Wait for the worker's restart; return an error reply if it died too often over the next client."""
        self._deaths += 1
        reason = one_line(error, None)
        _log.warning("a worker died; client %d and those after it are asked again: %s", self.client, reason)
        self.source, self._up = self.worker.where.remote(), False
        if self._deaths < ATTEMPTS:
            return None
        message = restore_message(self.take_question(), RecordDict())
        return make_failed(message, f"its worker died {ATTEMPTS} times over it", ErrorCode.UNKNOWN)


def run_ray(run: RunConfig, folder: CheckpointFolder, server: MakeServer) -> None:
    """Run the ServerApp in this process and the clients in `num-workers` Ray actors, one thread each."""
    deal_simulated(run)  # a user's mistake is told before Ray starts
    deal_simulated.cache_clear()  # only workers need the data
    with cluster(run.ray_address, run.num_workers) as num_workers:
        workers = _start_workers(run, min(num_workers, run.num_clients))
        try:
            states = ReferredStates(folder)
            grid = RayGrid(workers, run.num_clients, states)
            server(states)(grid, Context(RUN_ID, SUPERLINK_NODE_ID, {}, RecordDict(), run.flat()))
        finally:
            for worker in workers:
                ray.kill(worker)


def _put(record: ArrayRecord) -> Any:
    """Put an array record into Ray's object store, and return the reference."""
    return ray.put(pack_arrays(record))


def _start_workers(run: RunConfig, num_workers: int) -> list[Any]:
    """Start the workers and wait until they are up."""
    actor: Any = ray.remote(Worker)
    actor = actor.options(num_cpus=1, num_gpus=gpu_share(run.device, num_workers), max_restarts=-1, max_task_retries=0)
    workers = [actor.remote(run.num_clients, run.flat(), str(Path.cwd())) for _ in range(num_workers)]
    starting = [worker.where.remote() for worker in workers]
    soon = min(PATIENCE, run.round_timeout)
    try:
        up, late = ray.wait(starting, num_returns=num_workers, timeout=soon)
        if late:
            _log.info("waiting for %d of %d Ray workers to start: the CPUs may be busy", len(late), num_workers)
            up, late = ray.wait(starting, num_returns=num_workers, timeout=run.round_timeout - soon)
        for where in ray.get(up):
            _count(where)
    except ray.exceptions.RayError as error:
        raise RunFailedError(f"a Ray worker cannot start: {one_line(error, None)}") from error
    if late:
        raise RunFailedError(
            f"{len(late)} of {num_workers} Ray workers have not started in {run.round_timeout:g} seconds."
        )
    return workers


def _count(where: tuple[str, int]) -> None:
    """Let a worker on this machine count among the run's processes, also if a Ray that was joined has started it."""
    host, pid = where
    if host == socket.gethostname():
        with suppress(psutil.NoSuchProcess):  # it may have died since
            PROCESSES.add(pid)
