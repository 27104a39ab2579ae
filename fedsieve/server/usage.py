"""What a run costs this machine: CPU seconds and memory over all its processes."""

import os
import resource
import time

import psutil


class Usage:
    """Wall and CPU seconds since it was made, and the peak of PSS seen by `sample`.

    PSS counts memory that processes share once; it is summed over this process and its descendants.
    """

    def __init__(self, every: float = 1.0) -> None:
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
        for process in [self._process, *self._process.children(recursive=True)]:
            try:
                total += getattr(info := process.memory_full_info(), "pss", info.rss)
            except psutil.Error:
                continue
        self._peak = max(self._peak, total)

    def totals(self) -> dict[str, float]:
        """Return the three figures of `summary.json`."""
        self.sample(now=True)
        return {
            "cpu_seconds": round(cpu_seconds() - self._cpu, 3),
            "wall_seconds": round(time.perf_counter() - self._wall, 3),
            "peak_rss_mb": round(self._peak / 2**20, 1),
        }


def cpu_seconds() -> float:
    """Return user and system seconds of this process and of its children that have ended."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
