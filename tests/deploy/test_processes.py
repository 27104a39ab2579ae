import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fedsieve.deploy.processes import Running, end, read_running, write_running

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
PARENT = [
    sys.executable,
    "-c",
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(600)",
]


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that the test has started; killed at its end, whatever has become of them."""
    each: list[subprocess.Popen[str]] = []
    yield each
    for process in each:
        process.kill()
        process.communicate()


def leader(started: list[subprocess.Popen[str]], command: list[str]) -> tuple[Running, str]:
    """Start a process that leads a group; return it and the first line it says."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    started.append(process)
    assert process.stdout is not None
    return Running.of(process.pid), process.stdout.readline().strip()


def has_ended(pid: int) -> bool:
    """Return whether a process is gone, or only waits to be waited for."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_those_named_end_with_what_they_have_started_and_no_other(started: list[subprocess.Popen[str]]):
    named, child = leader(started, PARENT)
    other, _ = leader(started, SLEEP)
    assert end({"node-0": named}) == 1
    assert has_ended(named.pid)
    assert has_ended(int(child))
    assert other.process() is not None


def test_an_id_that_another_process_has_by_now_is_left_alone(started: list[subprocess.Popen[str]]):
    other, _ = leader(started, SLEEP)
    assert end({"node-0": Running(other.pid, other.created - 1)}) == 0
    assert other.process() is not None


def test_what_outlives_the_leader_of_its_group_is_ended_too(started: list[subprocess.Popen[str]]):
    named, child = leader(started, PARENT)
    os.kill(named.pid, signal.SIGKILL)
    started[0].wait()
    assert not has_ended(int(child))
    assert end({"node-0": named}) == 0
    assert has_ended(int(child))


def test_one_that_hangs_is_killed(started: list[subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fedsieve.deploy.processes.GRACE", 0.5)
    named, _ = leader(started, SLEEP)
    os.kill(named.pid, signal.SIGSTOP)
    end({"node-0": named})
    for _ in range(100):
        if has_ended(named.pid):
            break
        time.sleep(0.05)
    assert has_ended(named.pid)


def test_what_runs_is_read_as_it_was_written(tmp_path: Path):
    running = {"supervisor": Running(1, 2.5), "node-0": Running(3, 4.25, starts=2)}
    write_running(tmp_path / "processes.json", running)
    assert read_running(tmp_path / "processes.json") == running
    assert read_running(tmp_path / "other.json") == {}


def test_nodes_end_before_the_server_so_that_they_can_sign_off(monkeypatch: pytest.MonkeyPatch):
    ended: list[list[str]] = []
    monkeypatch.setattr("fedsieve.deploy.processes._end_members", lambda running: ended.append(sorted(running)))
    gone = Running(os.getpid(), 1.0)
    end(dict.fromkeys(("superlink", "superexec", "supervisor", "node-0", "node-1"), gone))
    assert ended == [["node-0", "node-1"], ["superexec", "superlink", "supervisor"]]
