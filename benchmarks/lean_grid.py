"""A round of a lean Grid of our own over gRPC beside Flower's deployment: `python benchmarks/lean_grid.py [--turns 3]`.

An experiment (docs/decisions/0019-lean-grid-experiment.md). Three systems run the same two apps with trivial compute,
200,000 floats each way a client and 800,000 of state, three nodes on this machine: the inline engine; `lean/`, a
process a node, mutual TLS over loopback; and `fedsieve deploy`, Flower's SuperLink and SuperNodes. They take turns.
`--systems` also knows "deployment, cold": a new interpreter for each message, as Flower has it. Before that a run of
FED-PUB over the lean Grid has to write the inline engine's files, strangers are turned away, and a node is killed and
one stopped. CPU seconds are those of all processes of a system from the end of the first round to that of the last.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

from engines import installed
from lean.faults import TRIVIAL, check_strangers, fault
from lean.processes import NODES, leaning
from runs import heading, row

SAME = {"algorithm": "fed-pub", "dataset": "digits-knn", "num-clients": len(NODES), "num-rounds": 3,
        "hidden-dim": 1100}  # fmt: skip
ROUNDS = {"inline": 202, "lean": 202, "deployment": 14, "deployment, cold": 12}
"""The first is left out, and the last, in whose time the CPU seconds are read."""


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
    """Run on a small graph of each node's own: a ClientApp of Flower's reads its data for each message."""
    folder.mkdir()
    graph = folder / "graph.npz"
    np.savez(graph, x=np.eye(20, dtype=np.float32), edge_index=np.array([[0, 1], [1, 0]]), y=np.arange(20) % 2)
    trial, environment = folder / "trial", {"METERED": str(folder)} | ({"FEDSIEVE_COLD": "1"} if cold else {})
    fedsieve("deploy", "up", trial, "--nodes", len(NODES), *["--data", graph] * len(NODES), environment=environment)
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
    os.environ["METERED_ROUNDS"] = str(ROUNDS[system])
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
    sent = json.loads((folder / "lean" / "summary.json").read_text())["downlink_bytes_per_client_round"]
    print(f"FED-PUB on digits-knn, 3 clients, 3 rounds, {sent / 1e6:.1f} MB a message: rounds.jsonl and clients.csv "
          "are the inline engine's, byte for byte.\n")  # fmt: skip


def main() -> None:
    """Print the two tables."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--turns", type=int, default=3)
    arguments.add_argument("--systems", nargs="+", choices=ROUNDS, default=list(ROUNDS)[:3])
    chosen = arguments.parse_args()
    heading("python benchmarks/lean_grid.py")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        installed(folder, "metered")
        check_equality(folder)
        check_strangers(folder / "strangers")
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
