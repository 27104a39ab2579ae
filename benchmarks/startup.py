"""How long a user waits: `python benchmarks/startup.py`.

`fedsieve run --help`, and from the start of `fedsieve run` until the first round of the inline engine is on disk.
Median of five starts, files in the system's cache.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from runs import heading, row

STARTS = 5
FEDSIEVE = str(Path(sys.executable).with_name("fedsieve"))
RUNS = {
    "digits-knn, 10 clients": ["--dataset", "digits-knn"],
    "Cora, 10 clients": ["--dataset", "cora"],
    "MNIST, 10 clients, hide-n-seek": ["--dataset", "mnist", "--algorithm", "hide-n-seek", "--fraction-train", "0.1"],
}


def helped() -> tuple[float, float]:
    """Return wall and CPU seconds of `fedsieve run --help`."""
    began, before = time.perf_counter(), _children()
    subprocess.run([FEDSIEVE, "run", "--help"], check=True, capture_output=True)
    return time.perf_counter() - began, _children() - before


def first_round(flags: list[str]) -> tuple[float, float]:
    """Return wall seconds until the first round is written, and CPU seconds of the whole run of one round."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [FEDSIEVE, "run", *flags, "--num-clients", "10", "--num-rounds", "1", "--quiet", "--out", str(out)]
        began, before = time.perf_counter(), _children()
        with subprocess.Popen(command) as running:
            lines = out / "rounds.jsonl"
            while running.poll() is None and not lines.exists():
                time.sleep(0.005)
            written = time.perf_counter() - began
        if running.returncode != 0:
            raise SystemExit(f"{' '.join(command)} ended with {running.returncode}")
        return written, _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print the table."""
    os.environ["OMP_NUM_THREADS"] = "1"
    heading("python benchmarks/startup.py")
    row("", "wall s", "CPU s")
    row(*["---"] * 3)
    told = [helped() for _ in range(STARTS)]
    row("`fedsieve run --help`", *(f"{median(column):.2f}" for column in zip(*told, strict=True)))
    for name, flags in RUNS.items():
        found = [first_round(flags) for _ in range(STARTS)]
        row(f"first round, {name}", *(f"{median(column):.2f}" for column in zip(*found, strict=True)))


if __name__ == "__main__":
    main()
