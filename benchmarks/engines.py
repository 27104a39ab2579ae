"""What the engines cost a round with trivial compute: `python benchmarks/engines.py [--clients 10 100]`.

The algorithm is benchmarks/trivial.py, installed as a plug-in would be; 200,000 floats each way a client, 800,000 of
state, all clients in every round, two workers where there are any. Engines take turns, so that their ratios hold while
the machine's speed drifts. CPU seconds are those of all processes of the run, start and end included, over the rounds.
"""

import argparse
import os
import tempfile
from pathlib import Path
from statistics import median
from uuid import uuid4

from runs import heading, row, run

ENGINES = {"inline": {}, "ray": {"num-workers": 2}, "flower": {"num-workers": 2}}
ROUNDS = {10: 12, 100: 6, 1000: 3}
REPEATS = {10: 3, 100: 2, 1000: 1}


def installed(folder: Path) -> None:
    """Make the plug-in one that is installed, for this process and those it starts."""
    info = folder / "trivial-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: trivial\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fedsieve.algorithms]\ntrivial = trivial:ALGORITHM\n")
    paths = [str(folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--clients", type=int, nargs="+", choices=ROUNDS, default=list(ROUNDS))
    chosen = arguments.parse_args()
    heading("python benchmarks/engines.py")
    row("clients", "engine", "wall s a round", "flower's / this", "CPU s of the run", "peak MB")
    row(*["---"] * 6)
    with tempfile.TemporaryDirectory() as folder:
        installed(Path(folder))
        for clients in chosen.clients:
            found: dict[str, list[tuple[float, float, float]]] = {engine: [] for engine in ENGINES}
            for _ in range(REPEATS[clients]):
                for engine, keys in ENGINES.items():
                    asked = {"algorithm": "trivial", "dataset": "digits", "partition": "iid", "num-clients": clients,
                             "num-rounds": ROUNDS[clients], "engine": engine} | keys  # fmt: skip
                    summary = run(f"engines/{uuid4().hex}", asked)
                    wall = median(line["seconds"] for line in summary["timings"][1:])
                    found[engine].append((wall, summary["cpu_seconds"], summary["peak_rss_mb"]))
            slowest = [wall for wall, _, _ in found["flower"]]
            for engine, each in found.items():
                walls = [wall for wall, _, _ in each]
                ratio = median(theirs / ours for theirs, ours in zip(slowest, walls, strict=True))
                row(clients, engine, f"{median(walls):.3f}", f"{ratio:.1f}",
                    f"{median(cpu for _, cpu, _ in each):.1f}", f"{max(peak for _, _, peak in each):,.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
