"""What many clients cost: rounds, memory and the server's aggregation: `python benchmarks/growth.py`.

HideNseek, LeNet on MNIST, at most 100 clients a round, each with six images for training and validation; FED-PUB with
2,000 clients; then the server's K x K by K x P product beside the best product of two 2,048 x 2,048 matrices that this
machine reaches in the same minute. One thread throughout.

The peak is the largest resident set that the system saw of the run's one process, export and report included.
"""

import logging
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
from threadpoolctl import threadpool_limits

from fedsieve.client.holdings import simulated
from fedsieve.config import parse
from fedsieve.data.image_sets import load_images
from fedsieve.strategies import mixing
from fedsieve.strategies.rows import Rows
from runs import heading, row, run

COMMON = {"dataset": "mnist", "model": "lenet", "partition": "iid", "examples-per-client": 6, "lr": 0.05}
HIDE = COMMON | {"algorithm": "hide-n-seek"}
PUB = COMMON | {"algorithm": "fed-pub", "num-clients": 2000, "num-rounds": 3}
CASES: dict[str, dict[str, Any]] = {
    "hide-n-seek-10": HIDE | {"num-clients": 10, "num-rounds": 20},
    "hide-n-seek-100": HIDE | {"num-clients": 100, "num-rounds": 20},
    "hide-n-seek-1000": HIDE | {"num-clients": 1000, "num-rounds": 20, "fraction-train": 0.1},
    "hide-n-seek-10000": HIDE | {"num-clients": 10_000, "num-rounds": 20, "fraction-train": 0.01},
    "hide-n-seek-10000-all": HIDE | {"num-clients": 10_000, "num-rounds": 3},
    "fed-pub-2000-1024": PUB | {"state-memory-mb": 1024},
    "fed-pub-2000-128": PUB | {"state-memory-mb": 128},
}
P = 200_000
CLIENTS = (10, 20, 50, 100, 200, 500, 1000, 2000)
WIDTHS = (256, 1024, 4096, 16_384, 65_536)


def grown(case: str) -> tuple[dict[str, Any], float]:
    """Run, and return the summary and the peak of the run's memory in MB; 0 if it had been run before."""
    with threadpool_limits(1):
        found = run(f"growth/{case}", CASES[case])
    return found, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def partitioning(keys: dict[str, Any]) -> float:
    """Return the CPU seconds of dealing the images, which are in memory, to the clients."""
    logging.disable(logging.WARNING)
    load_images("mnist")
    simulated.cache_clear()
    began = time.process_time()
    simulated(parse(keys))
    return time.process_time() - began


def runs() -> None:
    row("algorithm", "clients", "a round", "state-memory-mb", "dealing, CPU s", "CPU s a round", "wall s a round",
        "rounds a second", "last training, CPU s", "whole run, CPU s", "wall s", "peak MB")  # fmt: skip
    row(*["---"] * 12)
    for case, keys in CASES.items():
        with ProcessPoolExecutor(1) as fresh:
            dealt = fresh.submit(partitioning, keys).result()
        with ProcessPoolExecutor(1) as fresh:
            found, peak = fresh.submit(grown, case).result()
        times = found["timings"]
        rounds, last = times[: keys["num-rounds"]], times[keys["num-rounds"] :]
        wall = median(line["seconds"] for line in rounds[1:])
        row(keys["algorithm"], f"{keys['num-clients']:,}", len(found["rounds"][0]["participants"]),
            keys.get("state-memory-mb", 1024), f"{dealt:.1f}",
            f"{median(line['cpu_seconds'] for line in rounds[1:]):.2f}", f"{wall:.2f}", f"{1 / wall:.2f}",
            f"{last[0]['cpu_seconds']:.1f}" if last else "-", f"{found['cpu_seconds']:.0f}",
            f"{found['wall_seconds']:.0f}", f"{max(peak, found['peak_rss_mb']):,.0f}")  # fmt: skip


def spent(act: Callable[[], object]) -> float:
    began = time.process_time()
    act()
    return time.process_time() - began


def peak_flops() -> float:
    """Return what the best of three products of 2,048 x 2,048 float32 reaches."""
    left, right = (np.random.RandomState(k).random_sample((2048, 2048)).astype(np.float32) for k in (0, 1))
    product = np.empty_like(left)
    return float(2 * 2048**3 / min(spent(lambda: np.matmul(left, right, out=product)) for _ in range(3)))


def share_of_peak(K: int, columns: int, folder: Path | None) -> tuple[float, float]:
    """Return the share of the peak that K models of P weights, mixed for each and once for all, reach, and CPU s."""
    like, random = {"w": np.zeros(P, np.float32)}, np.random.RandomState(K)
    sources, targets = Rows(like, K, folder), Rows(like, K + 1, folder)
    for k in range(K):
        sources.put(k, {"w": random.random_sample(P).astype(np.float32)})
    weights = random.dirichlet(np.ones(K), K + 1)
    found = []
    with patch.object(mixing, "COLUMNS", columns):
        for _ in range(1 + (5 if K <= 200 else 2 if K <= 500 else 1)):
            peak = peak_flops()
            seconds = spent(lambda: mixing.mix(weights, sources, range(K), targets, range(K + 1)))
            found.append((2 * K * (K + 1) * P / seconds / peak, seconds))
    return max(found[1:])  # at first the pages of the targets are taken


def aggregation(folder: Path) -> None:
    own = mixing.COLUMNS
    row("K", "in memory, % of the peak", "CPU s", "on disk, % of the peak", "CPU s", "matrices, MB", "blocks, MB")
    row(*["---"] * 7)
    for K in CLIENTS:
        here, there = share_of_peak(K, own, None), share_of_peak(K, own, folder)
        row(K, f"{100 * here[0]:.0f}", f"{here[1]:.3f}", f"{100 * there[0]:.0f}", f"{there[1]:.3f}",
            f"{(2 * K + 1) * P * 4 / 2**20:,.0f}", f"{(2 * K + 1) * own * 4 / 2**20:.1f}")  # fmt: skip


def widths() -> None:
    row("K", *(f"{columns:,} columns" for columns in WIDTHS))
    row(*["---"] * (1 + len(WIDTHS)))
    for K in (20, 100, 200, 500):
        row(K, *(f"{100 * share_of_peak(K, columns, None)[0]:.0f}" for columns in WIDTHS))


def main() -> None:
    heading("python benchmarks/growth.py")
    runs()
    with tempfile.TemporaryDirectory(dir=".") as folder, threadpool_limits(1):
        print(f"\nThis machine's best product now: {peak_flops() / 1e9:.0f} GFLOP/s\n")
        aggregation(Path(folder))
        print("\nOther widths of a block, in memory, % of the peak\n")
        widths()


if __name__ == "__main__":
    main()
