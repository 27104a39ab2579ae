"""Engines that run the ServerApp and the ClientApp without a network."""

from collections.abc import Callable
from pathlib import Path

from flwr.serverapp import ServerApp

from fedsieve.config import RunConfig
from fedsieve.errors import UserError
from fedsieve.server.app import make_server_app
from fedsieve.server.run_folder import check_folder, folder_of
from fedsieve.simulations.inline import run_inline

__all__ = ["ENGINES", "simulate"]


ENGINES: dict[str, Callable[[RunConfig, ServerApp], None]] = {"inline": run_inline}


def simulate(run: RunConfig, *, quiet: bool = False) -> Path:
    """Run a simulation from start to end and return its folder, which then holds the results."""
    if run.engine not in ENGINES:
        raise UserError(f"engine: got {run.engine!r}, allowed in this version: {', '.join(ENGINES)}.")
    folder = folder_of(run)
    check_folder(folder)
    run = run.model_copy(update={"out": str(folder)})
    ENGINES[run.engine](run, make_server_app(engine=run.engine, export=True, quiet=quiet))
    return folder
