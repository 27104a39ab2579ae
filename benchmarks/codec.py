"""The mask codec's bytes, beside entropies and zlib, and its seconds on one thread: `python benchmarks/codec.py`.

"Model" is the ideal cost of the bits under the scheme and the quantised probabilities of the code, without its header;
"order 0" is n times the entropy of the mean flip rate. Where one context is the best scheme the two are the same, and
no header fits below them. Where the ideal is below some 400 to 900 bytes, by the contexts, the header alone is more
than 3 % of it. What is neither ideal nor header the range coder loses: its last word and its rounding.
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

from fedsieve.masks import contexts
from fedsieve.masks.codec import RAW, decode, encode
from runs import heading, row

LENGTHS = (12_354, 61_770, 200_000, 1_000_000)
REPEATS = 9
CRC_BYTES = 4
NAMES = ("one", "buckets", "layers", "layers and buckets", "raw")

SITUATIONS = (
    "falls from 0.5 to 0.02",
    "0.1 everywhere",
    "0.5 everywhere",
    "0.02, 0.1, 0.4 by layer",
    "falls from 0.5, 0.3, 0.1 by layer",
    "0.0005 everywhere",
)


def layers(n: int) -> list[int]:
    """Split n entries into a large, a middle and a small layer."""
    return [n - n // 4 - n // 20, n // 4, n // 20]


def rates(situation: str, certainty: NDArray[np.float64], layer: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the chance of a flip at each entry, of its |broadcast|/127 and its layer's number."""
    if situation == "falls from 0.5 to 0.02":
        return 0.5 - 0.48 * certainty
    if situation == "0.02, 0.1, 0.4 by layer":
        return np.array([0.02, 0.1, 0.4])[layer]
    if situation == "falls from 0.5, 0.3, 0.1 by layer":
        return np.array([0.5, 0.3, 0.1])[layer] * (1 - 0.95 * certainty)
    return np.full(len(layer), float(situation.split(maxsplit=1)[0]))


def draw(n: int, situation: str) -> tuple[NDArray[np.bool_], NDArray[np.int8]]:
    """Draw a mask and the broadcast that it answers."""
    generator = np.random.default_rng([n, SITUATIONS.index(situation)])
    broadcast = generator.integers(-127, 128, n).astype(np.int8)
    layer = np.repeat(np.arange(3), layers(n))
    rate = rates(situation, np.abs(broadcast.astype(np.float64)) / 127, layer)
    return (broadcast >= 0) ^ (generator.random(n) < rate), broadcast


def model_bytes(
    code: NDArray[np.uint8], flips: NDArray[np.bool_], broadcast: NDArray[np.int8], sizes_of_layers: list[int]
) -> float:
    """Return what the scheme that `code` names costs ideally, without its header."""
    if code[0] & 15 == RAW:
        return len(flips) / 8
    order, sizes = contexts.group(int(code[0] & 15), contexts.finest(broadcast, sizes_of_layers))
    ones = np.array([group.sum() for group in np.split(flips[order], np.cumsum(sizes)[:-1])])
    places = np.frombuffer(code.tobytes(), np.uint8, len(sizes), frame_bytes(code) - CRC_BYTES)
    return contexts.bits(ones, sizes, places) / 8


def frame_bytes(code: NDArray[np.uint8]) -> int:
    """Return the size of the header and the checksum, without the probabilities: two LEB128 numbers after a byte."""
    ends = np.flatnonzero(code[1:] < 0x80)
    return 1 + int(ends[1]) + 1 + CRC_BYTES


def header_bytes(code: NDArray[np.uint8], broadcast: NDArray[np.int8]) -> int:
    """Return the size of all that is not the bits' own."""
    if code[0] & 15 == RAW:
        return frame_bytes(code)
    _, sizes = contexts.group(int(code[0] & 15), contexts.finest(broadcast, layers(len(broadcast))))
    return frame_bytes(code) + len(sizes)


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
    row("signs", "flip rate", "scheme", "bytes", "of these header", "model", "over model",
        "order 0", "over order 0", "zlib -9", "n/8", "encode + decode, wall s", "CPU s")  # fmt: skip
    row(*["---"] * 13)
    for n in LENGTHS:
        for situation in SITUATIONS:
            signs, broadcast = draw(n, situation)
            flips = signs ^ (broadcast >= 0)
            code = encode(signs, broadcast, layers(n))
            assert (decode(code, broadcast, layers(n)) == signs).all()
            wall, cpu = timed(lambda s=signs, b=broadcast: decode(encode(s, b, layers(len(s))), b, layers(len(s))))
            model, order_0 = model_bytes(code, flips, broadcast, layers(n)), order_0_bytes(flips)
            row(f"{n:,}", situation, NAMES[code[0] & 15], f"{len(code):,}", header_bytes(code, broadcast),
                f"{model:,.1f}", f"{len(code) - model:+.1f} B, {len(code) / model - 1:+.2%}",
                f"{order_0:,.1f}", f"{len(code) - order_0:+.1f} B, {len(code) / order_0 - 1:+.2%}",
                f"{len(zlib.compress(np.packbits(flips).tobytes(), 9)):,}", f"{-(-n // 8):,}",
                f"{wall:.3f}", f"{cpu:.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
