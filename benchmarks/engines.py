"""What the engines cost a round with trivial compute: `python benchmarks/engines.py [--clients 10 100]`.

The algorithm is benchmarks/trivial.py, installed as a plug-in would be; 200,000 floats each way a client, 800,000 of
state, all clients in every round, two workers where there are any. `Flower alone` is benchmarks/plain_flower.py: the
same numbers without FedSieve, state in Flower's Context; a round of it is training and evaluation, which FedSieve puts
in one message. It writes no checkpoints, so none are written here before the end. Engines take turns, so that their
ratios hold while the machine's speed drifts. CPU seconds are those of all processes of the run, start and end included.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from uuid import uuid4

from runs import heading, row, run

ENGINES = {"inline": {}, "ray": {"num-workers": 2}, "flower": {"num-workers": 2}}
ALONE, ALONE_TRAINING = "Flower alone", "its training alone"
ROUNDS = {10: 12, 100: 6, 1000: 3}
REPEATS = {10: 3, 100: 3, 1000: 1}
STATE_MEMORY_MB = 8192
"""All states in memory, as Flower has them."""

Figures = tuple[float, float, float]
"""Median wall seconds a round without the first, CPU seconds of the run, peak MB."""


def installed(folder: Path, name: str = "trivial") -> None:
    """Make a module of this folder a plug-in that is installed, for this process and those it starts."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[fedsieve.algorithms]\n{name} = {name}:ALGORITHM\n")
    paths = [str(folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))


def ours(engine: str, clients: int) -> Figures:
    """Run one of FedSieve's engines."""
    dataset = "digits" if clients < 1000 else "mnist"  # enough images for all
    asked = {"algorithm": "trivial", "dataset": dataset, "partition": "iid", "num-clients": clients,
             "num-rounds": ROUNDS[clients], "engine": engine, "state-memory-mb": STATE_MEMORY_MB}  # fmt: skip
    summary = run(f"engines/{uuid4().hex}", asked | ENGINES[engine])
    wall = median(line["seconds"] for line in summary["timings"][1:])
    return wall, summary["cpu_seconds"], summary["peak_rss_mb"]


def alone(clients: int) -> dict[str, Figures]:
    """Run Flower without FedSieve."""
    command = [sys.executable, str(Path(__file__).with_name("plain_flower.py"))]
    asked = [f"--clients={clients}", f"--rounds={ROUNDS[clients]}"]
    done = subprocess.run(
        [*command, *asked], check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith(b"{")))
    cost = found["cpu_seconds"], found["peak_rss_mb"]
    return {ALONE: (median(found["seconds"][1:]), *cost), ALONE_TRAINING: (median(found["training"][1:]), *cost)}


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--clients", type=int, nargs="+", choices=ROUNDS, default=list(ROUNDS))
    arguments.add_argument("--without-alone", action="store_true", help="leave out Flower alone, which takes longest")
    chosen = arguments.parse_args()
    heading("python benchmarks/engines.py")
    alone_too = () if chosen.without_alone else (ALONE, ALONE_TRAINING)
    ratios = [f"{name}'s / this" for name in ("flower", *alone_too[:1])]
    row("clients", "engine", "wall s a round", *ratios, "CPU s of the run", "peak MB")
    row(*["---"] * (5 + len(ratios)))
    with tempfile.TemporaryDirectory() as folder:
        installed(Path(folder))
        for clients in chosen.clients:
            found: dict[str, list[Figures]] = {name: [] for name in (*ENGINES, *alone_too)}
            for _ in range(REPEATS[clients]):
                turn = {engine: ours(engine, clients) for engine in ENGINES} | (alone(clients) if alone_too else {})
                for name, figures in turn.items():
                    found[name].append(figures)
            for name, each in found.items():
                row(clients, name, f"{median(wall for wall, _, _ in each):.3f}", *(
                    f"{median(theirs[0] / this[0] for theirs, this in zip(found[other], each, strict=True)):.1f}"
                    for other in ("flower", *alone_too[:1])
                ), f"{median(cpu for _, cpu, _ in each):.1f}", f"{max(peak for _, _, peak in each):,.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
