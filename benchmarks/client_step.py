"""A client's training step under hide-n-seek, against FedAvg's dense step: `python benchmarks/client_step.py`.

Random pixels, batches of 20, one thread. They are timed in turn, so that what else the machine does falls on all; the
ratio is that of the medians of CPU seconds a step. The last column is the share of the sign mask's step that is left
without its optimiser.
"""

import time
from itertools import count
from statistics import median
from typing import Any

import numpy as np
import torch

from fedsieve.client.app.image_task import ImageTask
from fedsieve.client.hide_n_seek import HideNseekTrainer
from fedsieve.client.training import fit, make_optimizer
from fedsieve.config import parse
from fedsieve.contract import Shape
from fedsieve.data.image_partitions import ClientImages
from fedsieve.data.image_sets import ImageSet
from fedsieve.masks.attach import weights
from fedsieve.masks.binary import maskable
from fedsieve.models import build
from runs import heading, row

CASES = (
    ("lenet", (3, 32, 32), "adam", 0.01),
    ("lenet", (3, 32, 32), "sgd", 0.1),
    ("mlp", (1, 28, 28), "adam", 0.01),
    ("mlp", (1, 28, 28), "sgd", 0.1),
)
STEPS, TURNS, DENSITY = 50, 15, 0.2
CPU = torch.device("cpu")


class StandingStill(torch.optim.Optimizer):
    """Its step does nothing but what others do around it."""

    def step(self, closure: Any = None) -> None:
        """Leave the latents as they are."""


def case(model: str, shape: tuple[int, ...], optimizer: str, lr: float) -> tuple[float, float, float]:
    """Return median CPU milliseconds a step: dense, sign mask, and the sign mask's without its optimiser."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (20 * STEPS, *shape), dtype=torch.uint8, generator=random)
    data = ImageSet(images, torch.randint(0, 10, (20 * STEPS,), generator=random), 20 * STEPS, 10)
    part = ClientImages(np.arange(20 * STEPS), np.arange(0), np.arange(0))
    task = ImageTask(data, part, torch.zeros(1, *shape), 20, CPU)
    run = parse({"dataset": "cifar10", "algorithm": "hide-n-seek", "model": model, "optimizer": optimizer, "lr": lr})
    dense = build(run, Shape(shape, 10))
    signed = HideNseekTrainer(run, run.settings, build(run, Shape(shape, 10)))  # type: ignore[arg-type]
    layers = maskable(signed.weights)
    signed.mask.keep_(layers, {name: torch.rand(w.shape, generator=random) < DENSITY for name, w in layers.items()})
    signed.mask.load_(torch.full_like(signed.mask.latent, 0.1))
    dense_optimizer = make_optimizer(run, weights(dense), {})
    sign_optimizer = make_optimizer(run, {"latent": signed.mask.latent}, {})
    signed.mask.follow(sign_optimizer)
    still = StandingStill([signed.mask.latent], {})
    signed.mask.follow(still)
    spent: dict[str, list[float]] = {"dense": [], "signed": [], "still": []}
    mean, step = torch.zeros_like(signed.mask.latent), count()

    def average() -> None:
        if next(step) % STEPS >= STEPS // 2:
            mean.add_(signed.mask.latent, alpha=2 / STEPS)

    for _ in range(TURNS):
        for name, network, used in (
            ("dense", dense, dense_optimizer),
            ("signed", signed.model, sign_optimizer),
            ("still", signed.model, still),
        ):
            began = time.process_time()
            fit(network, used, task, 1, after_step=None if name == "dense" else average)
            spent[name].append((time.process_time() - began) / STEPS * 1e3)
    return median(spent["dense"]), median(spent["signed"]), median(spent["still"])


def main() -> None:
    torch.set_num_threads(1)
    heading("python benchmarks/client_step.py")
    row("network", "optimiser", "dense, CPU ms a step", "sign mask", "ratio", "sign mask without its optimiser")
    row(*["---"] * 6)
    for model, shape, optimizer, lr in CASES:
        dense, signed, still = case(model, shape, optimizer, lr)
        row(model, optimizer, f"{dense:.2f}", f"{signed:.2f}", f"{signed / dense:.2f}", f"{still / signed:.0%}")


if __name__ == "__main__":
    main()
