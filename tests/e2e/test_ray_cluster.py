"""`--ray-address` joins a Ray cluster of two nodes, both on this machine, and leaves it as it was."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.e2e.test_flwr_run import free_port
from tests.helpers import assert_same_run, simulated, summary_of, using
from tests.simulations.cases import CASES

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]

BIN = Path(sys.executable).parent


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for Ray's files whose path is short enough for its sockets."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="fs"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def environment(temporary: Path) -> dict[str, str]:
    return os.environ | {"TMPDIR": str(temporary), "RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": str(temporary)}


def daemons(temporary: Path) -> set[int]:
    """Return the ids of the processes that make the cluster."""
    return {process.pid for process in using(temporary) if process.name() in ("gcs_server", "raylet")}


def workers(temporary: Path) -> list[str]:
    """Return the titles of the cluster's processes that run an actor of ours."""
    found = []
    for process in using(temporary):
        with suppress(psutil.Error):  # it may just have ended
            found += [title for title in process.cmdline()[:1] if title.startswith("ray::Worker")]
    return found


@pytest.fixture
def address(temporary: Path, environment: dict[str, str]) -> Iterator[str]:
    """The address of a cluster of two nodes with a CPU each."""
    start = [BIN / "ray", "start", "--num-cpus=1", "--object-store-memory=200000000", "--disable-usage-stats"]
    start += ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]
    address = f"127.0.0.1:{free_port()}"
    head = ["--head", f"--port={address.rpartition(':')[2]}", f"--ray-client-server-port={free_port()}"]
    head += [f"--temp-dir={temporary}", "--include-dashboard=false"]
    try:
        for node in (head, [f"--address={address}"]):
            with (temporary / "ray-start.log").open("a") as log:  # no pipe: what it starts would keep that open
                subprocess.run(
                    [*start, *node],
                    env=environment, cwd=temporary, check=True, timeout=120, stdout=log, stderr=log,
                )  # fmt: skip
        yield address
    finally:
        left = using(temporary)
        for process in left:
            process.kill()
        psutil.wait_procs(left, timeout=20)


def test_a_run_on_two_nodes_is_the_inline_engines_and_leaves_the_cluster_to_others(
    address: str, temporary: Path, environment: dict[str, str], tmp_path: Path
):
    case = CASES["fed-pub"]
    expected = simulated(tmp_path / "inline", case)
    before = daemons(temporary)
    assert len(before) == 3
    command = [sys.executable, "-m", "fedsieve", "run", "--engine", "ray", "--ray-address", address, "--quiet"]
    command += ["--num-workers", "2", "--out", str(tmp_path / "ray"), *(f"-s{key}={case[key]}" for key in case)]
    run = subprocess.Popen(
        command, env=os.environ | {"TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    seen = 0
    while run.poll() is None and seen < 2:
        seen = len(workers(temporary))
        time.sleep(0.02)
    result, warnings = run.communicate(timeout=200)
    assert (warnings, run.returncode) == ("", 0)
    assert "digits-knn, metis, 5 clients, 3 rounds" in result
    assert seen == 2
    assert_same_run(tmp_path / "ray", expected)
    assert summary_of(tmp_path / "ray")["peak_rss_mb"] > 500, "the two workers count, though others started them"
    until = time.monotonic() + 60
    while workers(temporary) and time.monotonic() < until:
        time.sleep(0.1)
    assert workers(temporary) == []
    assert daemons(temporary) == before
