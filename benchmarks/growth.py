"""Rounds, memory and processor time at 10 to 10,000 clients: `python benchmarks/growth.py`.

LeNet on MNIST, one epoch, each client with six images for training and validation; HideNseek with at most 100 clients a
round, then all 10,000; FED-PUB with 2,000 clients. One thread throughout.

The peak is the largest resident set that the system saw of the run's one process, export and report included; it is
above the PSS. It is known only of runs that this call makes.
"""

import logging
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from statistics import median
from typing import Any

from threadpoolctl import threadpool_limits

from fedsieve.client.app.holdings import deal_simulated
from fedsieve.config import parse
from fedsieve.data.image_sets import load_images
from runs import heading, row, run

COMMON = {"dataset": "mnist", "partition": "iid", "examples-per-client": 6, "local-epochs": 1}
HIDE = COMMON | {"algorithm": "hide-n-seek"}
PUB = COMMON | {"algorithm": "fed-pub", "num-clients": 2000, "num-rounds": 2}
CASES: dict[str, dict[str, Any]] = {
    "hide-n-seek-10": HIDE | {"num-clients": 10, "num-rounds": 10},
    "hide-n-seek-100": HIDE | {"num-clients": 100, "num-rounds": 10},
    "hide-n-seek-1000": HIDE | {"num-clients": 1000, "num-rounds": 10, "fraction-train": 0.1},
    "hide-n-seek-10000": HIDE | {"num-clients": 10_000, "num-rounds": 10, "fraction-train": 0.01},
    "hide-n-seek-10000-all": HIDE | {"num-clients": 10_000, "num-rounds": 2},
    "fed-pub-2000-1024": PUB | {"state-memory-mb": 1024},
    "fed-pub-2000-128": PUB | {"state-memory-mb": 128},
}


def grown(case: str) -> tuple[dict[str, Any], float]:
    """Run, and return the summary and the peak of the run's memory in MB; 0 if it had been run before."""
    with threadpool_limits(1):
        found = run(f"growth/{case}", CASES[case])
    return found, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def partitioning(keys: dict[str, Any]) -> float:
    """Return the CPU seconds of dealing the images, which are in memory, to the clients."""
    logging.disable(logging.WARNING)
    load_images("mnist")
    deal_simulated.cache_clear()
    began = time.process_time()
    deal_simulated(parse(keys))
    return time.process_time() - began


def main() -> None:
    heading("python benchmarks/growth.py")
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
        row(keys["algorithm"], f"{keys['num-clients']:,}", f"{len(found['rounds'][0]['participants']):,}",
            keys.get("state-memory-mb", 1024), f"{dealt:.1f}",
            f"{median(line['cpu_seconds'] for line in rounds[1:]):.2f}", f"{wall:.2f}", f"{1 / wall:.2g}",
            f"{last[0]['cpu_seconds']:.1f}" if last else "-", f"{found['cpu_seconds']:.0f}",
            f"{found['wall_seconds']:.0f}", f"{max(peak, found['peak_rss_mb']):,.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
