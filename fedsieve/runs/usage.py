"""What a run costs this machine: CPU seconds and memory over all its processes."""

import os
import resource
import time
from collections.abc import Mapping

import psutil


class Processes:
    """The processes of this one's runs besides itself: its descendants, and those that were added.

    They are looked for at most once in `every` seconds, because that costs milliseconds.
    """

    def __init__(self, every: float = 1.0) -> None:
        self._every, self._next = every, 0.0
        self._processes: set[psutil.Process] = set()
        self._added: set[psutil.Process] = set()
        self._spent: dict[psutil.Process, float] = {}
        self._children: set[psutil.Process] = set()

    def add(self, pid: int) -> None:
        """Add one that is no descendant: a worker of a cluster that was joined, on this machine."""
        self._added.add(psutil.Process(pid))

    def look_up(self, *, now: bool = False) -> set[psutil.Process]:
        """Return the processes found last, looked for again if it is time or `now`."""
        if now or time.perf_counter() >= self._next:
            self._processes = {*psutil.Process().children(recursive=True), *self._added}
            self._next = time.perf_counter() + self._every
        return self._processes

    def cpu_seconds(self) -> float:
        """Return user and system seconds of all, those included that have ended."""
        for process in self.look_up() | self._spent.keys():
            try:
                times = process.cpu_times()
                if process not in self._spent and process.ppid() == os.getpid():
                    self._children.add(process)
                self._spent[process] = times.user + times.system
            except psutil.Error:
                if process in self._children:  # the system counts those that have ended
                    self._spent.pop(process, None)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return sum(self._spent.values()) + ended.ru_utime + ended.ru_stime


PROCESSES = Processes()


class Usage:
    """Wall and CPU seconds since it was made, and the peak of PSS seen by `sample`.

    PSS counts memory that processes share once; it is summed over this process and `PROCESSES`.

    Args:
        every: seconds between two looks at the memory.
        before: what `so_far` returned at the last checkpoint of the run, which is resumed.
    """

    def __init__(self, every: float = 1.0, before: Mapping[str, float] | None = None) -> None:
        self._before = before or {}
        PROCESSES.look_up(now=True)
        self._wall, self._cpu = time.perf_counter(), cpu_seconds()
        self._every, self._next = every, 0.0
        self._peak = 0
        self._process = psutil.Process(os.getpid())

    def sample(self, *, now: bool = False) -> None:
        """Look at the memory, at most once in `every` seconds unless `now`; it costs milliseconds."""
        if not now and time.perf_counter() < self._next:
            return
        self._next = time.perf_counter() + self._every
        total = 0
        for process in (self._process, *PROCESSES.look_up(now=True)):
            try:
                total += getattr(info := process.memory_full_info(), "pss", info.rss)
            except psutil.Error:
                continue
        self._peak = max(self._peak, total)

    def totals(self) -> dict[str, float]:
        """Return the three figures of `summary.json`."""
        self.sample(now=True)
        return self.so_far()

    def so_far(self) -> dict[str, float]:
        """Return the three figures, the memory as it was looked at last."""
        before = self._before
        return {
            "cpu_seconds": round(before.get("cpu_seconds", 0.0) + cpu_seconds() - self._cpu, 3),
            "wall_seconds": round(before.get("wall_seconds", 0.0) + time.perf_counter() - self._wall, 3),
            "peak_rss_mb": max(before.get("peak_rss_mb", 0.0), round(self._peak / 2**20, 1)),
        }


def cpu_seconds() -> float:
    """Return user and system seconds of this process and of all that have worked for it."""
    times = resource.getrusage(resource.RUSAGE_SELF)
    return times.ru_utime + times.ru_stime + PROCESSES.cpu_seconds()
