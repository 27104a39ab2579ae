"""Keeps a trial's programs running: `python -m fedsieve.deploy.supervisor DIR`, which `deploy up` starts.

On real hosts systemd does this (deploy/*.service, Restart=always). A program that ends, however it does, is started
again after `PAUSE` seconds: a SuperNode that was killed is refused by the SuperLink, and ends, for about 60 seconds.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path

from fedsieve.deploy.layout import Layout, read_deployment
from fedsieve.deploy.processes import GRACE, SERVER, SUPERVISOR, Running, kill_group, write_running
from fedsieve.deploy.programs import Program, environment, programs

PAUSE = 5.0
"""Seconds between the end of a program and its next start."""

LOOK = 0.2
"""Seconds between two looks at the programs."""


class Supervisor:
    """Starts the programs, each as the leader of a process group, and starts again what ends."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._programs = programs(layout, read_deployment(layout))
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._running: dict[str, Running] = {SUPERVISOR: Running.of(os.getpid())}
        self._due = {program.name: 0.0 for program in self._programs}
        self._ending = False

    def run(self) -> None:
        """Keep the programs running until SIGTERM or SIGINT, then end them, the nodes first."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        write_running(self._layout.processes, self._running)
        while not self._ending:
            for program in self._programs:
                self._look_after(program)
            time.sleep(LOOK)
        _end([child for name, child in self._children.items() if name not in SERVER])
        _end([child for name, child in self._children.items() if name in SERVER])
        self._layout.processes.unlink(missing_ok=True)

    def _end(self, *_: object) -> None:
        self._ending = True

    def _look_after(self, program: Program) -> None:
        child = self._children.get(program.name)
        if child is not None and _has_ended(child):
            _reap(child)
            print(f"{program.name} (pid {child.pid}) has ended with code {child.returncode}", flush=True)
            del self._children[program.name]
            self._due[program.name] = time.monotonic() + PAUSE
        elif (
            child is None
            and time.monotonic() >= self._due[program.name]
            and (program.after is None or program.after.exists())
        ):
            self._start(program)

    def _start(self, program: Program) -> None:
        with (self._layout.logs / f"{program.name}.log").open("ab") as log:
            child = subprocess.Popen(
                program.command,
                env=environment(program.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._children[program.name] = child
        before = self._running.get(program.name)
        self._running[program.name] = Running.of(child.pid, 1 if before is None else before.starts + 1)
        write_running(self._layout.processes, self._running)


def _end(children: Collection[subprocess.Popen[bytes]]) -> None:
    """End these children and what is left of their groups."""
    for child in children:
        child.terminate()
    until = time.monotonic() + GRACE
    while not all(map(_has_ended, children)) and time.monotonic() < until:
        time.sleep(LOOK)
    for child in children:
        _reap(child)


def _has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Return whether a child has ended, without waiting for it: its group keeps its id as long."""
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _reap(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a child's group, the child included, and wait for it."""
    kill_group(child.pid)
    child.wait()


if __name__ == "__main__":
    Supervisor(Layout(Path(sys.argv[1]))).run()
