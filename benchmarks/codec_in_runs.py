"""The mask code's bytes in real runs of HideNseek, beside entropies: `python benchmarks/codec_in_runs.py`.

LeNet and MLP at density 0.2, 100 clients of two classes, 10 a round, 20 rounds, seed 42. Every code that a client
sends is compared with the cross-entropy of its bits under the code's own model, and with the order-0 entropy of its
flips.
"""

import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec import model_bytes, order_0_bytes
from fedsieve.config import parse
from fedsieve.masks import planes
from fedsieve.masks.groups import Groups
from fedsieve.simulations import simulate
from runs import heading, row

CASES: dict[str, dict[str, Any]] = {
    "lenet, Adam 0.01, cifar10": {"model": "lenet", "lr": 0.01, "dataset": "cifar10"},
    "lenet, Adam 0.01, mnist": {"model": "lenet", "lr": 0.01, "dataset": "mnist"},
    "lenet, Adam 0.01, cifar10, Dirichlet 0.3, one epoch over all images": {
        "model": "lenet", "lr": 0.01, "dataset": "cifar10", "partition": "dirichlet", "alpha": 0.3,
        "local-epochs": 1, "examples-per-client": 0},
    "mlp, SGD 1, momentum 0.9, mnist": {
        "model": "mlp", "optimizer": "sgd", "lr": 1.0, "momentum": 0.9, "dataset": "mnist"},
}  # fmt: skip
COMMON = {"algorithm": "hide-n-seek", "partition": "pathological", "num-clients": 100, "fraction-train": 0.1,
          "num-rounds": 20, "examples-per-client": 125, "seed": 42}  # fmt: skip


def codes(keys: dict[str, Any]) -> list[tuple[int, int, float, float]]:
    """Run, and return of each code: number of signs, bytes, bytes under its model and at order 0."""
    found: list[tuple[int, int, float, float]] = []
    encode = planes.encode

    def watched(signs: NDArray[np.bool_], mean: NDArray[np.int8], groups: Groups) -> NDArray[np.uint8]:
        code, flips = encode(signs, mean, groups), signs ^ (mean >= 0)
        found.append((len(signs), len(code), model_bytes(signs, mean, groups), order_0_bytes(flips)))  # fmt: skip
        return code

    planes.encode = watched  # type: ignore[assignment]
    try:
        with tempfile.TemporaryDirectory() as folder:
            simulate(parse(COMMON | keys | {"out": str(Path(folder) / "run")}), quiet=True)
    finally:
        planes.encode = encode
    return found


def main() -> None:
    heading("python benchmarks/codec_in_runs.py")
    row("run", "signs", "bytes", "beyond the model", "bits a sign", "over the model, median", "worst",
        "over order 0, median", "worst",
        "codes above order 0", "over 3 %", "shortest code, bytes", "all codes over their models")  # fmt: skip
    row(*["---"] * 13)
    for name, keys in CASES.items():
        found = codes(keys)
        over_model = [size / model - 1 for _, size, model, _ in found]
        extra = median(size - model for _, size, model, _ in found)
        over_order_0 = [size / order_0 - 1 for _, size, _, order_0 in found if order_0]
        sizes = [code[1] for code in found]
        row(name, found[0][0], f"{median(sizes):,.0f}", f"{extra:.1f}", f"{8 * median(sizes) / found[0][0]:.3f}",
            f"{median(over_model):+.2%}", f"{max(over_model):+.2%}", f"{median(over_order_0):+.2%}",
            f"{max(over_order_0):+.2%}", f"{sum(over > 0 for over in over_order_0)} of {len(found)}",
            f"{sum(over > 0.03 for over in over_model)} of {len(found)}", min(sizes),
            f"{sum(sizes) / sum(model for _, _, model, _ in found) - 1:+.2%}")  # fmt: skip


if __name__ == "__main__":
    main()
