"""The server's K x K by K x P product beside this machine's best: `python benchmarks/mixing.py`.

K models of 200,000 weights are mixed for each of K clients and once for all. The peak is the best of three products of
2,048 x 2,048 float32 matrices right before each; time is processor time, on one thread.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
from threadpoolctl import threadpool_limits

from fedsieve.contract import Expected, Replies, Reply
from fedsieve.rows import Rows, Storage
from fedsieve.server.uploads import Uploads
from fedsieve.strategies import mixing
from runs import heading, row

P = 200_000
CLIENTS = (10, 20, 50, 100, 200, 500, 1000, 2000)
WIDTHS = (256, 1024, 4096, 16_384, 65_536)


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
    layout, random = {"w": Expected((P,), np.dtype(np.float32))}, np.random.RandomState(K)
    uploads, targets = Uploads(Storage(None if folder is None else 0, folder)), Rows(layout, folder)
    uploads.begin_round(layout, K)
    drawn = (random.random_sample(P).astype(np.float32) for _ in range(K))
    replies = Replies([uploads.keep(Reply(k, {"w": model}, {})) for k, model in enumerate(drawn)])
    weights = random.dirichlet(np.ones(K), K + 1)

    def mixed() -> None:
        for name, start, block in mixing.mix(weights, replies, layout):
            targets.put_columns(range(K + 1), name, start, block)

    found = []
    with patch.object(mixing, "COLUMNS", columns):
        for _ in range(1 + (5 if K <= 200 else 2 if K <= 500 else 1)):
            peak = peak_flops()
            seconds = spent(mixed)
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
    heading("python benchmarks/mixing.py")
    with tempfile.TemporaryDirectory(dir=".") as folder, threadpool_limits(1):
        print(f"The best product: {peak_flops() / 1e9:.0f} GFLOP/s\n")
        aggregation(Path(folder))
        print("\nOther widths of a block, in memory, % of the peak\n")
        widths()


if __name__ == "__main__":
    main()
