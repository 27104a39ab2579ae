"""A run that is killed, again and again, and resumed ends with what one has that is not."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.killing import SECONDS, lines, moments, run
from tests.helpers import assert_same_run, simulated, using

KILLS, TRIES = 20, 24
LEFT = 20
"""Rounds at the end before which the last kill is aimed."""

KEYS: dict[str, Any] = {
    "num-clients": 5,
    "num-rounds": 70,
    "fraction-train": 0.4,
    "hidden-dim": 8,
    "partition": "random",
}
CASES: dict[str, dict[str, Any]] = {
    "fed-pub": {},
    "fed-pub on disk": {"algorithm": "fed-pub", "state-memory-mb": 0, "checkpoint-every": 3},
    "hide-n-seek": {"algorithm": "hide-n-seek", "local-epochs": 2},
}


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow) if case != "fed-pub" else case for case in CASES]
)
def test_a_run_killed_at_twenty_moments_ends_as_one_that_was_not(case: str, graph_file: Path, tmp_path: Path):
    keys = KEYS | {"dataset": str(graph_file)} | CASES[case]
    expected, found, told = simulated(tmp_path / "once", keys), tmp_path / "killed", tmp_path / "told"
    begin = ["run", "--quiet", "--out", found, *(f"-s{key}={value}" for key, value in keys.items())]
    killed = 0
    for rounds, after in moments(1, TRIES, keys["num-rounds"] - LEFT, 0.05):
        arguments = ["resume", "--quiet", found] if killed else begin
        code = run(arguments, told, lambda rounds=rounds: lines(found) >= rounds, after)
        assert code in {-signal.SIGKILL, 0}, told.read_text()
        killed += code == -signal.SIGKILL
    assert killed >= KILLS, "the others came when the run had ended"
    assert run(["resume", "--quiet", found], told) == 0, told.read_text()
    assert_same_run(found, expected)
    assert sorted(path.name for path in found.iterdir()) == sorted(path.name for path in expected.iterdir())


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files whose path is short enough for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="fs"))
    yield folder
    for process in using(folder):
        process.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_run_on_ray_killed_at_three_moments_ends_as_one_inline_that_was_not(
    graph_file: Path, tmp_path: Path, temporary: Path
):
    keys = KEYS | {"dataset": str(graph_file), "num-rounds": 12}
    expected, found = simulated(tmp_path / "once", keys), tmp_path / "killed"
    ray = keys | {"engine": "ray", "num-workers": 2}
    begin = ["run", "--quiet", "--out", str(found), *(f"-s{key}={value}" for key, value in ray.items())]
    resume = ["resume", "--quiet", str(found)]
    for rounds, after in [*moments(2, 3, 12, 0.2), (13, 0.0)]:
        killed = subprocess.Popen(
            [sys.executable, "-m", "fedsieve", *(resume if found.exists() else begin)],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(temporary)},
            start_new_session=True,
        )
        until = time.monotonic() + SECONDS
        while killed.poll() is None and lines(found) < rounds:
            assert time.monotonic() < until
            time.sleep(0.01)
        if rounds <= 12:
            time.sleep(after)
            killed.kill()
        _, told = killed.communicate(timeout=SECONDS)
        assert killed.returncode == (-signal.SIGKILL if rounds <= 12 else 0), told
        for process in using(temporary):  # Ray's, of which the first end by themselves a moment later
            process.kill()
    assert_same_run(found, expected)
