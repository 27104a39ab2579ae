"""Engines that run the ServerApp and the ClientApp without a network."""

from collections.abc import Callable
from dataclasses import dataclass

from flwr.serverapp import ServerApp

from fedsieve.config import RunConfig
from fedsieve.errors import UserError
from fedsieve.server.app import make_server_app
from fedsieve.simulations.inline import run_inline

__all__ = ["ENGINES", "simulate"]


@dataclass(frozen=True)
class Engine:
    """An entry of `ENGINES`."""

    summary: str
    start: Callable[[RunConfig, ServerApp], None]


ENGINES = {"inline": Engine("everything in this process, one client after the other", run_inline)}


def simulate(run: RunConfig, *, quiet: bool = False) -> None:
    """Run a simulation from start to end; its folder, `run.out`, then holds the results."""
    if run.engine not in ENGINES:
        raise UserError(f"engine: got {run.engine!r}, allowed in this version: {', '.join(ENGINES)}.")
    ENGINES[run.engine].start(run, make_server_app(export=True, quiet=quiet))
