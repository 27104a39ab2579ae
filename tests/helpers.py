"""What tests of several rooms need: configurations, graph files, and the command line in this process."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil

from fedsieve import cli
from fedsieve.config import RunConfig, parse
from fedsieve.simulations import simulate


def config(keys: Mapping[str, Any] | None = None, /, **others: Any) -> RunConfig:
    """Return a parsed configuration; `num_clients=2` is the key `num-clients`."""
    return parse({name.replace("_", "-"): value for name, value in others.items()} | dict(keys or {}))


def write_graph(path: Path, per_class: int = 30, classes: int = 3, seed: int = 0, **changes: Any) -> Path:
    """Write communities as an `.npz` graph; keyword arguments replace arrays, and None takes one out."""
    random = np.random.RandomState(seed)
    n = per_class * classes
    y = np.repeat(np.arange(classes), per_class)
    near = random.random_sample((n, n)) < np.where(y[:, None] == y, 0.2, 0.01)
    sources, targets = np.nonzero(np.triu(near, 1))
    arrays = {
        "x": (np.eye(classes)[y] + random.normal(size=(n, classes))).astype(np.float32),
        "edge_index": np.array([[*sources, *targets], [*targets, *sources]]),
        "y": y,
    } | changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


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
