"""Keeps a run's checkpoints: an observer of the round loop that writes while the next round trains."""

import logging
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, Protocol

from fedsieve.array_files import array_bytes
from fedsieve.config import RunConfig
from fedsieve.errors import UserError
from fedsieve.files import Extent
from fedsieve.runs.checkpoint_folder import Checkpoint, CheckpointFolder
from fedsieve.runs.folder import RunFolder, make_portable
from fedsieve.runs.layout import server_client_file, server_file, state_file
from fedsieve.runs.reading import read_rounds
from fedsieve.runs.rounds import Past, Round
from fedsieve.runs.usage import Usage
from fedsieve.server.loop import RoundLoop

_log = logging.getLogger("fedsieve")


class ClientStates(Protocol):
    """What a simulation's engine keeps for its clients; an observer that lets go what no reply has come of."""

    def round_finished(self, round_: Round) -> None:
        """Called after each round, before the checkpoint is made."""

    def packed(self, client: int, round_: int) -> Callable[[], bytes]:
        """Return what gives the bytes of the client's state after `round_`, or a LookupError if it has been lost.

        It is called later and in another thread.
        """


@dataclass(frozen=True)
class _Stage:
    """Where the run stands after a round."""

    round: int
    records: dict[str, Extent]
    continues: dict[int, int]


class Checkpoints:
    """Makes a checkpoint after every `checkpoint-every` rounds, and one of the last round when it is asked to.

    Of a simulation's the files are written in a thread while the next round trains, and the next checkpoint waits for
    it: neither the server's arrays nor a client's state are changed in place once they are there. A deployment's, which
    has no clients' states, is written after every round and before the next begins: a device keeps the states of no
    more rounds than two checkpoints name.

    Args:
        run: the run's configuration.
        token: the run's name.
        checkpoint_folder: where checkpoints are; the run is resumed from its newest.
        folder: the run's.
        loop: whose strategy's state is kept.
        usage: what the run costs.
        states: the clients', in a simulation.
    """

    def __init__(
        self,
        run: RunConfig,
        token: str,
        checkpoint_folder: CheckpointFolder,
        folder: RunFolder,
        loop: RoundLoop,
        usage: Usage,
        states: ClientStates | None,
    ) -> None:
        self._run, self._token, self._usage = run, token, usage
        self._checkpoint_folder, self._folder, self._loop, self._states = checkpoint_folder, folder, loop, states
        self._every = 1 if states is None else run.checkpoint_every
        self._limit = run.state_memory_mb * 2**20
        self._last = checkpoint_folder.newest
        self._server_clients = dict(checkpoint_folder.newest.server_clients) if checkpoint_folder.newest else {}
        self._changed: set[int] = set()
        self._stage: _Stage | None = None
        self._begun = 0
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def __enter__(self) -> "Checkpoints":
        """Return it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait until what has been begun is written."""
        self._thread.shutdown()

    def round_finished(self, round_: Round) -> None:
        """Make a checkpoint, if it is time for one; a round that failed or was for the metric only changes nothing."""
        if round_.for_metric_only or round_.failed:
            return
        self._changed.update(round_.participants)
        self._stage = _Stage(round_.number, dict(self._folder.records), dict(self._loop.continues))
        if self._every and round_.number % self._every == 0:
            self._make()

    def make_last(self) -> None:
        """Have a checkpoint of the last round, complete when this returns.

        Raises:
            UserError: one could not be written.
        """
        if self._stage is not None and self._begun != self._stage.round:
            self._make()
        self._wait()

    def finish(self) -> None:
        """Let the last checkpoint say that nothing is left to do."""
        if self._last is not None:
            self._last = replace(self._last, finished=True, config=self._config())
            self._checkpoint_folder.add(self._last)

    def _make(self) -> None:
        self._wait()
        assert self._stage is not None
        stage, strategy = self._stage, self._loop.strategy
        self._begun = stage.round
        work: list[tuple[str, Callable[[], bytes]]] = []
        waiting = 0
        for client in sorted(self._changed):
            self._server_clients.pop(client, None)
            if arrays := strategy.state_of(client):
                self._server_clients[client] = stage.round
                work.append((server_client_file(client, stage.round), partial(array_bytes, arrays)))
                waiting += sum(array.nbytes for array in arrays.values())
            if waiting > self._limit:  # more would not fit into memory
                self._put(work)
                work, waiting = [], 0
        self._changed = set()
        work.append((server_file(stage.round), partial(array_bytes, self._loop.state())))
        names = [server_file(stage.round)]
        names += [server_client_file(client, round_) for client, round_ in self._server_clients.items()]
        if self._states is not None:
            for client, round_ in stage.continues.items():
                name = state_file(client, round_)
                names.append(name)
                if name not in self._checkpoint_folder:
                    work.append((name, self._states.packed(client, round_)))
        self._checkpoint_folder.reserve(names)
        checkpoint = Checkpoint(
            round=stage.round,
            finished=False,
            token=self._token,
            config=self._config(),
            usage=self._usage.so_far(),
            records=stage.records,
            server_clients=dict(self._server_clients),
            states=None if self._states is None else stage.continues,
            files={},
        )
        self._writing = self._thread.submit(self._write, work, names, checkpoint)
        if self._states is None:
            self._wait()

    def _write(self, work: list[tuple[str, Callable[[], bytes]]], names: list[str], checkpoint: Checkpoint) -> None:
        self._put(work)
        try:
            for name in checkpoint.records:
                with (self._folder.path / name).open("ab") as file:
                    os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"{self._folder.path}: cannot be written: {error.strerror}.") from error
        states = checkpoint.states
        if states is not None:
            states = {client: at for client, at in states.items() if state_file(client, at) in self._checkpoint_folder}
        files = self._checkpoint_folder.extents(name for name in names if name in self._checkpoint_folder)
        self._last = replace(checkpoint, states=states, files=files)
        self._checkpoint_folder.add(self._last)

    def _put(self, work: list[tuple[str, Callable[[], bytes]]]) -> None:
        work.reverse()
        while work:  # so that an array goes when it is written
            name, make = work.pop()
            try:
                self._checkpoint_folder.put(name, make)
            except LookupError as error:
                _log.warning("the checkpoint is without %s: %s", name, error)

    def _wait(self) -> None:
        """Wait for what is being written, and raise what has gone wrong with it, once."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _config(self) -> dict[str, Any]:
        return make_portable(self._run).flat()


def read_past(checkpoint_folder: CheckpointFolder, folder: RunFolder) -> Past | None:
    """Return what a resumed run begins with, its arrays read one client's after the other; None for a new run."""
    newest = checkpoint_folder.newest
    if newest is None:
        return None
    of_clients = (
        (client, checkpoint_folder.arrays(server_client_file(client, round_)))
        for client, round_ in newest.server_clients.items()
    )
    return Past(read_rounds(folder.path), checkpoint_folder.arrays(server_file(newest.round)), of_clients)
