"""What tests of several rooms need: configurations, graph files, and the command line in this process."""

import json
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import pytest

from fedsieve import cli, plugins
from fedsieve.algorithms import ENTRY_POINTS, algorithm_names
from fedsieve.config import RunConfig, parse
from fedsieve.simulations import simulate
from fedsieve.testing import write_graph  # noqa: F401 - most tests take it from here

ALGORITHMS = [{"flwr": "flwr:FedAdam"}.get(name, name) for name in algorithm_names()]
"""Every built-in algorithm, and one of Flower's strategies for all of them."""


def config(keys: Mapping[str, Any] | None = None, /, **others: Any) -> RunConfig:
    """Return a parsed configuration; `num_clients=2` is the key `num-clients`."""
    return parse({name.replace("_", "-"): value for name, value in others.items()} | dict(keys or {}))


def fedsieve(*arguments: object) -> int:
    """Run the command line in this process and return its exit code."""
    with patch.object(sys, "argv", ["fedsieve", *map(str, arguments)]):
        try:
            cli.main()
        except SystemExit as left:
            return int(left.code or 0)
    return 0


def simulated(out: Path, keys: Mapping[str, Any] | None = None, /, **others: Any) -> Path:
    """Run a quiet simulation into `out` and return it."""
    simulate(config(keys, out=str(out), **others), quiet=True)
    return out


def rounds_of(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of `rounds.jsonl`."""
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]


def summary_of(folder: Path) -> dict[str, Any]:
    """Return `summary.json`."""
    return dict(json.loads((folder / "summary.json").read_text()))


def using(temporary: Path) -> list[psutil.Process]:
    """Return the processes whose temporary files are there."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == str(temporary):
                found.append(process)
        except psutil.Error:
            continue
    return found


COSTS = {"engine", "seconds_per_round", "cpu_seconds", "wall_seconds", "peak_rss_mb"}


def assert_same_run(found: Path, expected: Path, folders: Sequence[str] = ("model", "checkpoint")) -> None:
    """Assert that two runs' folders hold the same byte by byte, what they cost excepted."""
    for name in ("rounds.jsonl", "clients.csv"):
        assert (found / name).read_bytes() == (expected / name).read_bytes()
    one, other = ({k: v for k, v in summary_of(run).items() if k not in COSTS} for run in (found, expected))
    assert one == other
    for folder in folders:
        names = sorted(path.name for path in (expected / folder).iterdir())
        assert sorted(path.name for path in (found / folder).iterdir()) == names
        assert len(names) > 0
        for name in names:
            if name.endswith(".safetensors"):
                assert (found / folder / name).read_bytes() == (expected / folder / name).read_bytes(), name


@contextmanager
def installed(
    site: Path, package: str, algorithms: Mapping[str, str], *paths: Path, version: str = "1.0"
) -> Iterator[None]:
    """Install algorithms, by what their entry points name, for this process and those that it starts meanwhile.

    Args:
        site: a new or an empty folder.
        package: the distribution's name.
        algorithms: entry points of the group `fedsieve.algorithms`.
        paths: where their modules are.
        version: the distribution's.
    """
    info = site / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    lines = [f"{name} = {value}" for name, value in algorithms.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{ENTRY_POINTS}]", *lines, ""]))
    with pytest.MonkeyPatch.context() as patch:
        for path in (site, *paths):
            patch.syspath_prepend(path)
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, [*paths, site, os.environ.get("PYTHONPATH", "")])))
        forget_plugins()
        yield
    forget_plugins()


@contextmanager
def installed_from(project: Path, site: Path) -> Iterator[None]:
    """Install the package in the folder `project`, as `pip install -e` would but without a network, see `installed`."""
    about = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    with installed(site, about["name"], about["entry-points"][ENTRY_POINTS], project, version=about["version"]):
        yield


def forget_plugins() -> None:
    """Let the registry look again at what is installed."""
    plugins.entries.cache_clear()
    plugins.load.cache_clear()
