"""Tiny runs of one algorithm, with a network and clients that do as a test wants."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from flwr.app import Context, Message, RecordDict
from flwr.serverapp import Grid
from threadpoolctl import threadpool_limits

from fedsieve.client.app.client_app import make_client_app
from fedsieve.client.app.state import DiskStore, StateStore
from fedsieve.config import RunConfig, parse
from fedsieve.errors import RunFailedError
from fedsieve.kinds import Kind
from fedsieve.runs.checkpoint_folder import CheckpointFolder
from fedsieve.runs.layout import RunLayout
from fedsieve.runs.reopen import reopen
from fedsieve.server.app import make_server_app
from fedsieve.server.checkpoints import ClientStates
from fedsieve.simulations.flower_internals import SUPERLINK_NODE_ID
from fedsieve.simulations.grid import FIRST_NODE_ID, RUN_ID, App
from fedsieve.simulations.inline import InlineGrid
from fedsieve.simulations.states import KeptStates
from fedsieve.testing.graphs import write_graph

CLIENTS, ROUNDS = 4, 4

OWN = {"algorithm", "dataset", "num-clients", "num-rounds", "fraction-train", "checkpoint-every", "engine", "out"}
"""Keys that a run's setting decides."""


@dataclass
class Setting:
    """One algorithm on tiny data.

    Attributes:
        algorithm: its registered name.
        keys: keys that it needs, over the tiny runs' own.
        folder: takes the runs.
    """

    algorithm: str
    keys: Mapping[str, Any]
    folder: Path
    _number: int = field(default=0, init=False)

    def config(self, kind: Kind, *, everybody: bool = False, network: str = "") -> RunConfig:
        """Return the configuration of a run into a new folder.

        Args:
            kind: of data.
            everybody: all four clients take part in each round, and there is one checkpoint, of the last. Else three
                do, of which a sum depends on the order, and there is a checkpoint after every round.
            network: the model, "" for that of the keys.
        """
        self._number += 1
        tiny: dict[str, Any] = {"algorithm": self.algorithm, "num-clients": CLIENTS, "num-rounds": ROUNDS}
        tiny |= {"local-epochs": 2, "seed": 3, "out": str(self.folder / f"run-{self._number}")}
        tiny |= {"checkpoint-every": 0} if everybody else {"fraction-train": 0.75}
        return parse(tiny | self._data(kind) | dict(self.keys) | ({"model": network} if network else {}))

    def _data(self, kind: Kind) -> dict[str, Any]:
        if kind == "images":
            return {"dataset": "digits", "model": "mlp", "partition": "iid", "examples-per-client": 40}
        graph = self.folder / "graph.npz"
        if not graph.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_graph(graph, per_class=12)
        return {"dataset": str(graph), "partition": "random", "hidden-dim": 4, "train-ratio": 0.4, "val-ratio": 0.3}


@dataclass
class Run:
    """What a run has left.

    Attributes:
        config: the run's; its `out` is the folder.
        raised: what the client half has raised, without ending the run.
    """

    config: RunConfig
    raised: list[Exception]

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.config.out)


@dataclass(frozen=True)
class Between:
    """What happens to messages on their way.

    Attributes:
        deliver: whether a message to a client, by id, arrives.
        answer: makes the client, an app, answer it.
        arrange: hands on a round's replies, in another order perhaps.
    """

    deliver: Callable[[int, Message], bool] = lambda _, __: True
    answer: Callable[[App, Message, Context], Message] = lambda app, message, context: app(message, context)
    arrange: Callable[[Iterator[Message]], Iterable[Message]] = lambda replies: replies


class Clients:
    """All clients of a run, in this process; they may outlive its server."""

    def __init__(self) -> None:
        self.states: StateStore | None = None
        self.raised: list[Exception] = []
        self._app = make_client_app(self._open)

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer a message; what that raises is kept too."""
        try:
            return self._app(message, context)
        except Exception as error:
            self.raised.append(error)
            raise

    def _open(self, token: str) -> StateStore:
        assert self.states is not None
        return self.states


def play(config: RunConfig, between: Between = Between(), clients: Clients | None = None) -> Run:
    """Run in this process, as the engine `inline` does but without a report."""
    return _play(config, CheckpointFolder(RunLayout(Path(config.out)).checkpoint), between, clients or Clients())


def resume(run: Run, clients: Clients) -> None:
    """Resume a run with a new server and the clients that are there."""
    with reopen(run.folder) as (config, checkpoint_folder):
        _play(config, checkpoint_folder, Between(), clients)


def play_on_devices(config: RunConfig, disk: Path) -> Run:
    """Run on devices that restart for each message, with their disk alone."""
    raised: list[Exception] = []

    def just_started(message: Message, context: Context) -> Message:
        clients = Clients()
        clients.states, clients.raised = DiskStore(disk), raised
        return clients(message, context)

    with threadpool_limits(1):
        _serve(config, _Network(just_started, config, Between()), None, None)
    return Run(config, raised)


def _play(config: RunConfig, checkpoint_folder: CheckpointFolder, between: Between, clients: Clients) -> Run:
    clients.states = states = KeptStates(checkpoint_folder, config.state_memory_mb * 2**20)
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            _serve(config, _Network(clients, config, between), checkpoint_folder, states)
    except RunFailedError as failed:
        raise failed from next(iter(clients.raised), None)
    return Run(config, clients.raised)


def _serve(
    config: RunConfig, grid: Grid, checkpoint_folder: CheckpointFolder | None, states: ClientStates | None
) -> None:
    server = make_server_app(
        engine="inline", export=True, quiet=True, checkpoint_folder=checkpoint_folder, states=states
    )
    server(grid, Context(RUN_ID, SUPERLINK_NODE_ID, {}, RecordDict(), config.flat()))


class _Network(InlineGrid):
    """The inline engine's grid, on which messages get lost, and replies are altered and come in any order."""

    def __init__(self, app: App, config: RunConfig, between: Between) -> None:
        super().__init__(
            lambda message, context: between.answer(app, message, context), config.num_clients, config.flat()
        )
        self._between = between

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Yield the replies to those messages that arrive."""
        arrived = (m for m in messages if self._between.deliver(m.metadata.dst_node_id - FIRST_NODE_ID, m))
        yield from self._between.arrange(super().send_and_receive(arrived, timeout=timeout))
