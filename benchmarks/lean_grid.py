"""A round of a lean Grid of our own over gRPC beside Flower's deployment: `python benchmarks/lean_grid.py [--turns 3]`.

An experiment (docs/decisions/0019-lean-grid-experiment.md). Four systems run the same two apps with trivial compute,
200,000 floats each way a client and 800,000 of state, three nodes on this machine: the inline engine; `lean/`, a
process a node, mutual TLS over loopback; and `fedsieve deploy`, warm, as it is, and cold, with a new interpreter for
each message as Flower has it. They take turns. Before that a run of FED-PUB over the lean Grid has to write the inline
engine's files, and a node is killed and one stopped. CPU seconds are those of all processes of a system from the end of
the first round to that of the last.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import median

from engines import installed
from lean.keys import make_keys
from runs import heading, row

NODES = tuple(f"node-{index}" for index in range(3))
TRIVIAL = {"algorithm": "metered", "dataset": "digits", "partition": "iid", "num-clients": len(NODES)}
SAME = {"algorithm": "fed-pub", "dataset": "digits-knn", "num-clients": len(NODES), "num-rounds": 3}
ROUNDS = {"inline": 202, "lean": 202, "deployment": 14, "deployment, cold": 12}
"""The first is left out, and the last, in whose time the CPU seconds are read."""


class Lean:
    """A server process and one process a node, in `folder`."""

    def __init__(self, folder: Path, keys: dict[str, object]) -> None:
        self.folder, self.numbers = folder, count()
        folder.mkdir()
        make_keys(folder / "keys", NODES)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        self.server = self._started("server", ",".join(NODES), json.dumps(keys))
        self.nodes = {name: self.start(name) for name in NODES}
        roots = [self.server.pid, *(node.pid for node in self.nodes.values())]
        (folder / "roots.json").write_text(json.dumps(roots))

    def start(self, name: str) -> subprocess.Popen:
        return self._started("node", name, str(self.folder / name))

    def _started(self, module: str, *words: str) -> subprocess.Popen:
        command = [sys.executable, "-m", f"lean.{module}", self.address, str(self.folder / "keys"), *words]
        with (self.folder / f"{module}-{next(self.numbers)}.log").open("wb") as log:
            environment = os.environ | {"OMP_NUM_THREADS": "1", "METERED": str(self.folder)}
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def end(self) -> None:
        for process in (self.server, *self.nodes.values()):
            process.kill()
            process.wait()


@contextmanager
def leaning(folder: Path, keys: dict[str, object]) -> Iterator[Lean]:
    """Start server and nodes, and end them."""
    lean = Lean(folder, keys)
    try:
        yield lean
    finally:
        lean.end()


def lean(folder: Path, keys: dict[str, object]) -> None:
    with leaning(folder, keys) as started:
        if code := started.server.wait():
            raise SystemExit(f"the lean server ended with {code}:\n{(folder / 'server-0.log').read_text()}")
        for node in started.nodes.values():
            node.wait(timeout=10)


def inline(folder: Path, keys: dict[str, object]) -> None:
    folder.mkdir()
    (folder / "roots.json").write_text("[]")
    fedsieve("run", "--quiet", *assignments(keys), environment={"METERED": str(folder), "OMP_NUM_THREADS": "1"})


def deployment(folder: Path, keys: dict[str, object], *, cold: bool = False) -> None:
    folder.mkdir()
    trial, environment = folder / "trial", {"METERED": str(folder)} | ({"FEDSIEVE_COLD": "1"} if cold else {})
    fedsieve("deploy", "up", trial, "--nodes", len(NODES), environment=environment)
    try:
        running = json.loads((trial / "processes.json").read_text())
        (folder / "roots.json").write_text(json.dumps([each["pid"] for each in running.values()]))
        fedsieve("deploy", "run", trial, "--quiet", *assignments(keys))
    finally:
        fedsieve("deploy", "down", trial)


def assignments(keys: dict[str, object]) -> list[str]:
    return [f"-s{key}={value}" for key, value in keys.items()]


def fedsieve(*words: object, environment: dict[str, str] | None = None) -> None:
    command = [sys.executable, "-m", "fedsieve", *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | (environment or {}))


def measured(system: str, folder: Path) -> tuple[float, float]:
    """Run once and return wall and CPU seconds a round."""
    keys = TRIVIAL | {"num-rounds": ROUNDS[system], "out": str(folder / "run")}
    if system == "inline":
        inline(folder, keys)
    elif system == "lean":
        lean(folder, keys)
    else:
        deployment(folder, keys, cold=system == "deployment, cold")
    first, last = map(float, (folder / "spent.jsonl").read_text().split())
    return median(seconds(folder / "run")[1:-1]), (last - first) / (ROUNDS[system] - 1)


def seconds(run: Path) -> list[float]:
    return [json.loads(line)["seconds"] for line in (run / "timings.jsonl").read_text().splitlines()]


def check_equality(folder: Path) -> None:
    """End if a run of FED-PUB over the lean Grid differs from the inline engine's in a byte of its files."""
    for name, system in (("inline", inline), ("lean", lean)):
        system(folder / f"same-{name}", SAME | {"out": str(folder / name)})
    for file in ("rounds.jsonl", "clients.csv"):
        if (folder / "inline" / file).read_bytes() != (folder / "lean" / file).read_bytes():
            raise SystemExit(f"{file} of the lean Grid is not the inline engine's")
    print("FED-PUB on digits-knn, 3 clients, 3 rounds: rounds.jsonl and clients.csv are the inline engine's, byte for "
          "byte\n")  # fmt: skip


def fault(sign: signal.Signals, folder: Path) -> tuple[float, float]:
    """Send a signal to a node in mid-run; return seconds until the round without it is over, and until it is back.

    A new process then takes the node's place, that of a stopped one after killing it, and has to import torch first.
    """
    run, name = folder / "run", NODES[1]
    with leaning(folder, TRIVIAL | {"num-rounds": 100_000, "out": str(run)}) as started:
        wait_until(lambda: last_round(run).get("round", 0) > 20)
        started.nodes[name].send_signal(sign)
        began = time.perf_counter()
        wait_until(lambda: last_round(run)["rejected"])
        missed = time.perf_counter()
        started.nodes[name].kill()
        started.nodes[name].wait()
        started.nodes[name] = started.start(name)
        wait_until(lambda: not last_round(run)["rejected"])
        return missed - began, time.perf_counter() - missed


def last_round(run: Path) -> dict:
    """Return the last whole line of a file that is being written, empty if there is none."""
    try:
        with (run / "rounds.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return {}
    return next((json.loads(line) for line in reversed(lines[1:]) if line.endswith(b"\n")), {})


def wait_until(arrived: Callable[[], object]) -> None:
    until = time.monotonic() + 180
    while not arrived():
        if time.monotonic() > until:
            raise SystemExit("waited for three minutes")
        time.sleep(0.05)


def main() -> None:
    """Print the two tables."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--turns", type=int, default=3)
    arguments.add_argument("--systems", nargs="+", choices=ROUNDS, default=list(ROUNDS))
    chosen = arguments.parse_args()
    heading("python benchmarks/lean_grid.py")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        installed(folder, "metered")
        check_equality(folder)
        row("a node is sent", "left out after, s", "back after a restart, s")
        row(*["---"] * 3)
        for sign in (signal.SIGKILL, signal.SIGSTOP):
            row(sign.name, *(f"{each:.2f}" for each in fault(sign, folder / sign.name)))
        print()
        found: dict[str, list[tuple[float, float]]] = {system: [] for system in chosen.systems}
        for turn in range(chosen.turns):
            for system, each in found.items():
                each.append(measured(system, folder / f"{system}-{turn}"))
    row("system", "s a round", "lean's x", "CPU s a round", "lean's x")
    row(*["---"] * 5)
    for system, each in found.items():
        ratios = ([a[part] / b[part] for a, b in zip(each, found["lean"], strict=True)] for part in (0, 1))
        walls, cpus = zip(*each, strict=True)
        wall, cpu = map(median, ratios)
        row(system, f"{median(walls):.3f}", f"{wall:.2f}", f"{median(cpus):.3f}", f"{cpu:.2f}")


if __name__ == "__main__":
    main()
