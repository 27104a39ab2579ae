"""Runs of the command line in processes of their own, ended by SIGKILL; forked, so that each is there at once."""

import multiprocessing
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.helpers import fedsieve

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["fedsieve.simulations", "fedsieve.reports.compare", "tests.e2e.killing"])

SECONDS = 120
"""A run that has not come as far as it should by then fails its test."""


def _main(arguments: list[str], told: str) -> None:
    with Path(told).open("a") as file:
        sys.stdout = sys.stderr = file
        code = fedsieve(*arguments)
    sys.exit(code)


def run(arguments: list[object], told: Path, dies: Callable[[], bool] = lambda: False, after: float = 0.0) -> int:
    """Run the command line, kill it `after` seconds from when `dies` says so; return its exit code, -9 if killed."""
    process = _FORKS.Process(target=_main, args=(list(map(str, arguments)), str(told)))
    process.start()
    until = time.monotonic() + SECONDS
    while process.is_alive() and not dies():
        assert time.monotonic() < until, told.read_text()
        process.join(0.002)
    process.join(after)
    if dies():
        process.kill()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def lines(folder: Path) -> int:
    """Return how many rounds a run's folder has on record; -1 where there is no run yet."""
    rounds = folder / "rounds.jsonl"
    if not (folder / "config.toml").exists():
        return -1
    return rounds.read_bytes().count(b"\n") if rounds.exists() else 0


def moments(seed: int, kills: int, rounds: int, longest: float) -> list[tuple[int, float]]:
    """Return when to kill: after how many rounds, spread over all, and how many seconds from then."""
    drawn = random.Random(seed)
    return [(rounds * kill // kills, drawn.uniform(0, longest)) for kill in range(kills)]
