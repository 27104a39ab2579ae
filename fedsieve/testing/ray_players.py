"""Ray workers that play one tiny run after another: a worker takes seconds to start, a run does not."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from flwr.app import Context, RecordDict

from fedsieve.config import RunConfig, Scalar
from fedsieve.runs.checkpoint_folder import CheckpointFolder
from fedsieve.runs.layout import RunLayout
from fedsieve.server.app import make_server_app
from fedsieve.simulations.flower_internals import SUPERLINK_NODE_ID
from fedsieve.simulations.grid import RUN_ID
from fedsieve.simulations.ray import RayGrid
from fedsieve.simulations.ray_cluster import cluster
from fedsieve.simulations.ray_states import ReferredStates
from fedsieve.simulations.ray_worker import Worker

WORKERS = 2


class Player(Worker):
    """A Ray worker that becomes that of another run."""

    def __init__(self) -> None:
        """Begin with no run."""

    def become(self, num_clients: int, run_config: dict[str, Scalar], folder: str) -> None:
        """Forget the last run, and be what the engine `ray` starts for this one."""
        Worker.__init__(self, num_clients, run_config, folder)


@contextmanager
def start_players() -> Iterator[list[Any]]:
    """Have so many workers while the block runs, in a Ray of their own or in that which this process has."""
    with cluster("", WORKERS):
        actor: Any = ray.remote(Player)
        workers = [actor.options(num_cpus=1, max_restarts=-1, max_task_retries=0).remote() for _ in range(WORKERS)]
        try:
            yield workers
        finally:
            for worker in workers:
                ray.kill(worker)


def play_on_ray(config: RunConfig, workers: list[Any]) -> None:
    """Run as the engine `ray` does, on workers that are there, without a report."""
    ray.get([worker.become.remote(config.num_clients, config.flat(), str(Path.cwd())) for worker in workers])
    checkpoint_folder = CheckpointFolder(RunLayout(Path(config.out)).checkpoint)
    states = ReferredStates(checkpoint_folder)
    server = make_server_app(engine="ray", export=True, quiet=True, checkpoint_folder=checkpoint_folder, states=states)
    grid = RayGrid(workers, config.num_clients, states)
    server(grid, Context(RUN_ID, SUPERLINK_NODE_ID, {}, RecordDict(), config.flat()))
