"""Ray itself: started for one run and ended with it, or joined; quiet, and nothing of it is left behind."""

import logging
import math
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray
import ray._private.worker as driver

from fedsieve.errors import UserError, one_line

LONGEST_TEMPORARY = 20
"""Ray puts sockets into its folder, and the path of a socket has at most 107 characters."""

PATIENCE = 10.0
"""Seconds for a connection to be made, and for Ray's processes to end."""

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "RAY_worker_niceness": "0",
}
"""No telemetry, no advice on standard error, and workers as urgent as the process that waits for them: Ray would give
them the nice value 15, with which they hardly run beside other jobs."""


@contextmanager
def cluster(address: str, num_workers: int) -> Iterator[int]:
    """Have a Ray while the block runs, and yield the number of workers: of its CPUs where `num_workers` is 0.

    One that this process has initialised already is used and left as it is. Else one is joined, if there is an
    `address`, or started: for this block alone, with a temporary folder of its own.

    Raises:
        UserError: there is no such cluster, or it has fewer CPUs than workers are asked for.
    """
    with _connect(address, num_workers or available_cpus()):
        cpus = int(_find_resources().get("CPU", 0))
        if num_workers > cpus:
            raise UserError(f"num-workers: got {num_workers}, allowed: at most the {cpus} CPUs of the Ray cluster.")
        yield num_workers or max(1, cpus)


def available_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu_share(device: str, num_workers: int) -> float:
    """Return the part of a GPU that a worker reserves, so that workers share the GPUs evenly; 0 where there is none."""
    gpus = 0 if device == "cpu" else int(_find_resources().get("GPU", 0))
    if device == "cuda" and gpus == 0:
        raise UserError("device: got 'cuda', but Ray finds no GPU in its cluster; allowed: auto or cpu.")
    return math.floor(1e4 / math.ceil(num_workers / gpus)) / 1e4 if gpus else 0.0


def _find_resources() -> dict[str, float]:
    return dict(ray.cluster_resources())  # type: ignore[no-untyped-call]


@contextmanager
def _connect(address: str, num_cpus: int) -> Iterator[None]:
    if ray.is_initialized():
        with _silence():
            yield
        return
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with _name_temporary_folder() as folder, end_started() as look, _silence():
        try:
            with _enter_neutral(folder):
                if address:
                    _join(address)
                else:
                    _init(address="local", num_cpus=num_cpus, _temp_dir=str(folder))
            yield
        finally:
            look()
            ray.shutdown()


@contextmanager
def end_started() -> Iterator[Callable[[], None]]:
    """Wait, after the block, until the processes that it has started are gone, and end those that stay.

    Yields:
        what to call while they run: a process whose parent has gone can no longer be found.
    """
    this = psutil.Process()
    before, started = set(this.children(recursive=True)), set[psutil.Process]()

    def look() -> None:
        started.update(set(this.children(recursive=True)) - before)

    try:
        yield look
    finally:
        for process in psutil.wait_procs(started, timeout=PATIENCE)[1]:
            process.kill()


def _join(address: str) -> None:
    try:
        if address != "auto":
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=PATIENCE).close()
        _init(address=address)
    except Exception as error:  # of Ray's there are many: ConnectionError, RuntimeError for another version, ...
        reason = one_line(error, None).rstrip(".")
        allowed = "allowed: HOST:PORT as ray start --head prints it, or auto for a cluster on this machine"
        raise UserError(f"ray-address: got {address!r}, which cannot be joined ({reason}); {allowed}.") from error


def _init(**arguments: Any) -> None:
    """Start or join Ray; it sets a handler for SIGTERM, which gives way to that of the command line."""
    before = signal.getsignal(signal.SIGTERM)
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **arguments)
    if before is not signal.SIG_DFL and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _name_temporary_folder() -> Iterator[Path]:
    short = len(tempfile.gettempdir()) <= LONGEST_TEMPORARY
    folder = Path(tempfile.mkdtemp(prefix="fedsieve-", dir=None if short else "/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _enter_neutral(folder: Path) -> Iterator[None]:
    """Be in `folder`: Ray puts the present folder in front of its workers' paths, where it could hide a package."""
    if paths := os.environ.get("PYTHONPATH"):
        os.environ["PYTHONPATH"] = os.pathsep.join(str(Path(path).absolute()) for path in paths.split(os.pathsep))
    with chdir(folder):
        yield


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what Ray says of workers that died off standard output; our own log says it."""
    before = driver._worker_logs_enabled
    driver._worker_logs_enabled = False
    try:
        yield
    finally:
        driver._worker_logs_enabled = before
