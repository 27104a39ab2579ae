"""Engines that run the ServerApp and the ClientApp without a network."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from flwr.serverapp import ServerApp

from fedsieve.config import RunConfig
from fedsieve.data.fingerprint import fingerprint
from fedsieve.errors import UserError
from fedsieve.paths import folder_named_by
from fedsieve.reports.ending import report_at_end
from fedsieve.runs.checkpoint_folder import CheckpointFolder
from fedsieve.runs.data_record import check_same_data
from fedsieve.runs.folder import check_folder, check_writable, folder_of
from fedsieve.runs.layout import RunLayout
from fedsieve.runs.reopen import reopen
from fedsieve.runs.rounds import Observer
from fedsieve.server.app import make_server_app
from fedsieve.server.checkpoints import ClientStates
from fedsieve.simulations.grid import MakeServer
from fedsieve.simulations.inline import run_inline

__all__ = ["ENGINES", "resume", "simulate"]


Engine = Callable[[RunConfig, CheckpointFolder, MakeServer], None]


def _run_ray(run: RunConfig, checkpoint_folder: CheckpointFolder, server: MakeServer) -> None:
    from fedsieve.simulations.ray import run_ray  # Ray takes a second to import

    run_ray(run, checkpoint_folder, server)


def _run_flower(run: RunConfig, _: CheckpointFolder, server: MakeServer) -> None:
    folder_named_by("FLWR_HOME", lambda: Path("~/.flwr").expanduser())  # which Flower itself does not check
    from fedsieve.simulations.flower import run_flower

    run_flower(run, server)


ENGINES: dict[str, Engine] = {
    "inline": run_inline,
    "ray": _run_ray,
    "flower": _run_flower,
}


def simulate(run: RunConfig, *, quiet: bool = False, watchers: Sequence[Observer] = ()) -> Path:
    """Run a simulation from start to end and return its folder, which then holds the results and their report."""
    folder = folder_of(run)
    check_folder(folder)
    with report_at_end(folder):
        _run(
            run.model_copy(update={"out": str(folder)}), CheckpointFolder(RunLayout(folder).checkpoint), quiet, watchers
        )
    return folder


def resume(
    folder: Path, *, quiet: bool = False, changes: Mapping[str, Any] | None = None, watchers: Sequence[Observer] = ()
) -> bool:
    """Resume the simulation in `folder` to its end, under these `changes` of its configuration.

    Return False if it had ended already.
    """
    with report_at_end(folder), reopen(folder) as (run, checkpoint_folder):
        check_same_data(folder, run.dataset, partial(fingerprint, partition=run.partition))
        if run.engine == "flower":
            raise UserError(f"{folder}: got a run of the engine flower, allowed: one of inline or ray.")
        if checkpoint_folder.newest is not None and checkpoint_folder.newest.states is None:
            raise UserError(f"{folder}: is a run whose clients' states are on their devices; start it there again.")
        if checkpoint_folder.newest is not None and checkpoint_folder.newest.covers(run):
            return False
        check_writable(folder)
        _run(run.model_copy(update=changes), checkpoint_folder, quiet, watchers)
    return True


def _run(run: RunConfig, checkpoint_folder: CheckpointFolder, quiet: bool, watchers: Sequence[Observer]) -> None:
    def server(states: ClientStates | None) -> ServerApp:
        return make_server_app(
            engine=run.engine,
            export=True,
            quiet=quiet,
            checkpoint_folder=checkpoint_folder,
            states=states,
            watchers=watchers,
        )

    ENGINES[run.engine](run, checkpoint_folder, server)
