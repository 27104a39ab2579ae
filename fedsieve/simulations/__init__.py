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


def _run_ray(run: RunConfig, server_app: ServerApp) -> None:
    from fedsieve.simulations.ray import run_ray  # Ray takes a second to import

    run_ray(run, server_app)


def _run_flower(run: RunConfig, server_app: ServerApp) -> None:
    from fedsieve.simulations.flower import run_flower

    run_flower(run, server_app)


ENGINES: dict[str, Callable[[RunConfig, ServerApp], None]] = {
    "inline": run_inline,
    "ray": _run_ray,
    "flower": _run_flower,
}


def simulate(run: RunConfig, *, quiet: bool = False) -> Path:
    """Run a simulation from start to end and return its folder, which then holds the results."""
    if run.engine not in ENGINES:
        raise UserError(f"engine: got {run.engine!r}, allowed: {', '.join(ENGINES)}.")
    folder = folder_of(run)
    check_folder(folder)
    run = run.model_copy(update={"out": str(folder)})
    ENGINES[run.engine](run, make_server_app(engine=run.engine, export=True, quiet=quiet))
    return folder
