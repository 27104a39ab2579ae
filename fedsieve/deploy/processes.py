"""What runs of a deployment: process ids with the moments they were created, and how exactly those are ended."""

import json
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from fedsieve.files import write_whole

SUPERVISOR = "supervisor"
SERVER = (SUPERVISOR, "superlink", "superexec")
"""The server's programs; all others are nodes, which end before, so that they can sign off."""

GRACE = 10.0
"""Seconds that processes have to end by themselves."""


@dataclass(frozen=True)
class Running:
    """A process: its id, which the system may give again, and when it was created, which tells it apart.

    Attributes:
        starts: how often it has been started.
    """

    pid: int
    created: float
    starts: int = 1

    @classmethod
    def of(cls, pid: int, starts: int = 1) -> "Running":
        """Return what `pid` is now."""
        return cls(pid, psutil.Process(pid).create_time(), starts)

    def process(self) -> psutil.Process | None:
        """Return the process, None if it has ended, also if another has its id by now."""
        with suppress(psutil.Error):
            process = psutil.Process(self.pid)
            if process.create_time() == self.created and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


def write_running(path: Path, running: Mapping[str, Running]) -> None:
    """Write what runs, by name."""
    text = json.dumps({name: asdict(each) for name, each in running.items()}, indent=2)
    write_whole(path, f"{text}\n".encode())


def read_running(path: Path) -> dict[str, Running]:
    """Return what was running when the file was written, empty if there is no such file."""
    try:
        by_name = json.loads(path.read_text(encoding="utf-8"))
        return {name: Running(**each) for name, each in by_name.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def end(running: Mapping[str, Running]) -> int:
    """End these processes and all that they have started: the supervisor first, which would start them again.

    Then the nodes, then the server. Each leads a process group. One that does not end in `GRACE` seconds, a stopped one
    for instance, is killed.

    Returns:
        how many of the named were running.
    """
    order = sorted(running, key=lambda name: name != SUPERVISOR)
    processes = {name: process for name in order if (process := running[name].process())}
    if (supervisor := processes.get(SUPERVISOR)) and supervisor.is_running():
        supervisor.terminate()
        psutil.wait_procs([supervisor], timeout=3 * GRACE)
    for are_nodes in (True, False):
        _end_members({name: each for name, each in running.items() if (name not in SERVER) is are_nodes})
    return len(processes)


def _end_members(running: Mapping[str, Running]) -> None:
    left = {*_list_members(running)}
    for process in left:
        with suppress(psutil.Error):
            process.terminate()
    for process in psutil.wait_procs(left, timeout=GRACE)[1]:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=GRACE)


def kill_group(pid: int) -> None:
    """Kill the process group that `pid`, which must not have been waited for, leads."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _list_members(running: Mapping[str, Running]) -> list[psutil.Process]:
    """Return the processes themselves, what they have started, and what is in the groups that they lead or led."""
    alive = [process for each in running.values() if (process := each.process())]
    members = [*alive, *(child for process in alive for child in _children(process))]
    groups = {each.pid for each in running.values() if _keeps_its_id(each)}
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) in groups:
                members.append(process)
    return members


def _keeps_its_id(each: Running) -> bool:
    """Return whether no other process has this one's id, which a group keeps from being given again."""
    try:
        return psutil.Process(each.pid).create_time() == each.created
    except psutil.NoSuchProcess:
        return True


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []
