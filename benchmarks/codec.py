"""The mask codec's bytes, beside entropies and zlib, and its seconds on one thread: `python benchmarks/codec.py`.

"Model" is the ideal cost of the bits under the chances that the coder learns, in those bits: without header, checksum
and the coder's rounding to a byte. "Order 0" is n times the entropy of the mean flip rate, "true rates" the cost under
the rates that the flips were drawn with, which no code beats on average.
"""

import math
import os
import time
import zlib
from collections.abc import Callable
from importlib.metadata import version
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from fedsieve.masks.chances import SCALE, Chances
from fedsieve.masks.codec import decode, encode
from fedsieve.masks.groups import Groups
from runs import heading, row

LENGTHS = (12_354, 61_770, 200_000, 1_000_000)
REPEATS = 9
NAMES = ("coded", "raw")
FANS = 100

SITUATIONS = (
    "falls from 0.5 to 0.02",
    "0.1 everywhere",
    "0.5 everywhere",
    "0.02 to 0.4 by group",
    "falls from 0.1 to 0.5 by group",
    "0.0005 everywhere",
)


def rates(situation: str, certainty: NDArray[np.float64], groups: Groups) -> NDArray[np.float64]:
    """Return the chance of a flip at each entry, of its |broadcast|/127 and its group."""
    if situation == "falls from 0.5 to 0.02":
        return 0.5 - 0.48 * certainty
    spread = np.random.default_rng(0).random(int(groups.max()) + 1)[groups]
    if situation == "0.02 to 0.4 by group":
        return 0.02 + 0.38 * spread
    if situation == "falls from 0.1 to 0.5 by group":
        return (0.1 + 0.4 * spread) * (1 - 0.95 * certainty)
    return np.full(len(groups), float(situation.split(maxsplit=1)[0]))


def draw(n: int, situation: str) -> tuple[NDArray[np.bool_], NDArray[np.int8], Groups, float]:
    """Draw a mask and the broadcast that it answers; with its groups of 100, and its bytes under the true rates."""
    generator = np.random.default_rng([n, SITUATIONS.index(situation)])
    broadcast = generator.integers(-127, 128, n).astype(np.int8)
    groups = np.arange(n) // (2 * FANS) * 2 + generator.integers(0, 2, n)
    rate = rates(situation, np.abs(broadcast.astype(np.float64)) / 127, groups)
    flips = generator.random(n) < rate
    ideal = -np.log2(np.where(flips, rate, 1 - rate)).sum() / 8
    return (broadcast >= 0) ^ flips, broadcast, groups.astype(np.min_scalar_type(groups.max())), float(ideal)


def model_bytes(signs: NDArray[np.bool_], broadcast: NDArray[np.int8], groups: Groups) -> float:
    """Return what the flips cost ideally under the chances learnt from them, or packed if that is less."""
    chances, bits = Chances(broadcast, groups), 0.0
    flips = (signs ^ (broadcast >= 0))[chances.order]
    for start, end in chances.steps:
        p = chances.of(start, end) / SCALE
        bits -= float(np.log2(np.where(flips[start:end], p, 1 - p)).sum())
        chances.learn(flips[start:end])
    return min(bits, len(signs)) / 8


def order_0_bytes(flips: NDArray[np.bool_]) -> float:
    """Return n times the entropy of the mean flip rate."""
    rate = float(flips.mean())
    if rate in {0.0, 1.0}:
        return 0.0
    return len(flips) * -(rate * math.log2(rate) + (1 - rate) * math.log2(1 - rate)) / 8


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Return the median wall and CPU seconds of a call."""
    walls, cpus = [], []
    for _ in range(REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return median(walls), median(cpus)


def main() -> None:
    heading("python benchmarks/codec.py")
    print(f"constriction {version('constriction')}, zlib {zlib.ZLIB_RUNTIME_VERSION}, median of {REPEATS} runs\n")
    row("signs", "flip rate", "scheme", "bytes", "model", "over model", "order 0", "over order 0",
        "over true rates", "zlib -9", "n/8", "encode + decode, wall s", "CPU s")  # fmt: skip
    row(*["---"] * 13)
    for n in LENGTHS:
        for situation in SITUATIONS:
            signs, broadcast, groups, ideal = draw(n, situation)
            flips = signs ^ (broadcast >= 0)
            code = encode(signs, broadcast, groups)
            assert (decode(code, broadcast, groups) == signs).all()
            wall, cpu = timed(lambda s=signs, b=broadcast, g=groups: decode(encode(s, b, g), b, g))
            model, order_0 = model_bytes(signs, broadcast, groups), order_0_bytes(flips)
            row(f"{n:,}", situation, NAMES[code[0] & 15], f"{len(code):,}",
                f"{model:,.1f}", f"{len(code) - model:+.1f} B, {len(code) / model - 1:+.2%}",
                f"{order_0:,.1f}", f"{len(code) - order_0:+.1f} B, {len(code) / order_0 - 1:+.2%}",
                f"{len(code) / ideal - 1:+.2%}",
                f"{len(zlib.compress(np.packbits(flips).tobytes(), 9)):,}", f"{-(-n // 8):,}",
                f"{wall:.3f}", f"{cpu:.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
