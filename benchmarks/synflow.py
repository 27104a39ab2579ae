"""Time of SynFlow on one thread, 100 iterations: `python benchmarks/synflow.py`."""

import time

import numpy as np
import torch

from fedsieve.masks.frozen import freeze_
from fedsieve.masks.pruning import prune
from fedsieve.models.conv import conv4
from fedsieve.models.lenet import LeNet
from fedsieve.models.mlp import MLP
from fedsieve.models.resnet import ResNet18
from runs import heading, row

SHAPE, CLASSES = (3, 32, 32), 10
NETWORKS = {"lenet": LeNet, "conv4": conv4, "mlp": MLP, "resnet18": ResNet18}


def main() -> None:
    heading("python benchmarks/synflow.py")
    row("network", "weights", "density", "CPU s", "wall s", "least density of a layer", "least weights of a layer")
    row(*["---"] * 7)
    torch.set_num_threads(1)
    for name, make in NETWORKS.items():
        for density in (0.2, 0.01):
            model = make(SHAPE, CLASSES)
            freeze_(model, "signed-constant", 42)
            wall, cpu = time.perf_counter(), time.process_time()
            keep = prune("synflow", model, torch.ones(1, *SHAPE), density, np.random.RandomState(42))
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            total = sum(mask.numel() for mask in keep.values())
            densities = [int(mask.sum()) / mask.numel() for mask in keep.values()]
            row(name, f"{total:,}", density, f"{cpu:.1f}", f"{wall:.1f}", f"{min(densities):.4f}",
                min(int(mask.sum()) for mask in keep.values()))  # fmt: skip


if __name__ == "__main__":
    main()
