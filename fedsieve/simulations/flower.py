"""The flower engine: Flower's own simulation runtime, with the same apps."""

import logging
import os
import queue
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation
from threadpoolctl import threadpool_limits

from fedsieve.client.app.client_app import make_client_app
from fedsieve.client.app.holdings import deal_simulated
from fedsieve.client.app.state import DiskStore
from fedsieve.config import RunConfig, Scalar
from fedsieve.errors import RunFailedError, one_line
from fedsieve.server.polling import PollingGrid
from fedsieve.simulations.flower_internals import SUPERLINK_NODE_ID
from fedsieve.simulations.grid import MakeServer, answer
from fedsieve.simulations.ray_cluster import available_cpus, cluster, end_started, gpu_share

PULL_INTERVAL = 0.1
"""Seconds between two looks for replies, as in Flower's own Grid."""


class ProcessApp(ClientApp):
    """A ClientApp that Flower may send to any worker with each message: the real one is made once a worker.

    Flower's runtime has no run config, and calls an error otherwise than our engines do; both are put right here.

    Args:
        run_config: what `context.run_config` holds.
        states: folder of the clients' states, on this machine.
        folder: in which the user is.
    """

    def __init__(self, run_config: dict[str, Scalar], states: str, folder: str) -> None:
        super().__init__()
        self._made_of = (run_config, states, folder)

    def __reduce__(self) -> tuple[object, ...]:
        return ProcessApp, self._made_of

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer as the real app does."""
        run_config, states, folder = self._made_of
        node, config = context.node_config, dict(run_config)
        of_run = Context(context.run_id, context.node_id, node, context.state, config)
        return answer(_app_of_process(states, folder), message, of_run)


@lru_cache(maxsize=1)
def _app_of_process(states: str, folder: str) -> ClientApp:
    torch.set_num_threads(1)
    threadpool_limits(1)
    os.chdir(folder)
    store = DiskStore(Path(states))
    return make_client_app(lambda _: store)


def _fail_if_ended(runtime: "Future[None]") -> None:
    if runtime.done():
        error = runtime.exception()
        raise RunFailedError(f"Flower's simulation runtime has ended: {one_line(error, None)}") from error


def run_flower(run: RunConfig, server: MakeServer) -> None:
    """Run the apps in Flower's runtime: the ServerApp in this thread, the clients in `num-workers` Ray actors.

    Flower would run the ServerApp in a thread of its own, which Ctrl-C does not reach and whose errors it reports
    late. The ServerApp that it is given therefore hands its Grid to this thread and waits. Nothing is kept: a run that
    has ended cannot be resumed.
    """
    deal_simulated(run)  # a user's mistake is told before Ray starts
    deal_simulated.cache_clear()  # only workers need the data
    num_workers = min(run.num_workers or available_cpus(), run.num_clients)
    grids: queue.SimpleQueue[Grid] = queue.SimpleQueue()
    finished = threading.Event()
    stand_in = ServerApp()

    @stand_in.main()
    def hand_over(grid: Grid, _: Context) -> None:
        grids.put(grid)
        finished.wait()

    with (
        tempfile.TemporaryDirectory(prefix="fedsieve-states-") as states,
        end_started() as look,
        cluster("", num_workers),
        _quiet_flower(),
        ThreadPoolExecutor(1) as thread,
    ):
        client_app = ProcessApp(run.flat(), states, str(Path.cwd()))
        resources: Any = {"num_cpus": 1.0, "num_gpus": gpu_share(run.device, num_workers)}
        runtime = thread.submit(
            run_simulation, stand_in, client_app, run.num_clients, backend_config={"client_resources": resources}
        )
        try:
            flowers = _take_grid(grids, runtime, run.round_timeout)
            grid = PollingGrid(flowers, PULL_INTERVAL, lambda: _fail_if_ended(runtime))
            server(None)(grid, Context(grid.run.run_id, SUPERLINK_NODE_ID, {}, RecordDict(), run.flat()))
        finally:
            look()  # Flower ends Ray
            finished.set()


def _take_grid(grids: "queue.SimpleQueue[Grid]", runtime: "Future[None]", timeout: float) -> Grid:
    """Return the Grid that Flower's runtime hands over when it is up."""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        with suppress(queue.Empty):
            return grids.get(timeout=PULL_INTERVAL)
        _fail_if_ended(runtime)
    raise RunFailedError(f"Flower's simulation runtime has not started in {timeout:g} seconds.")


@contextmanager
def _quiet_flower() -> Iterator[None]:
    """Let Flower's log be silent: what matters is in our own."""
    log = logging.getLogger("flwr")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)
