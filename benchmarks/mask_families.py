"""Every family of masks under every algorithm that takes several: `python benchmarks/mask_families.py`.

Digits (mlp, dirichlet), 10 rounds, and Cora (gcn, metis), 15 rounds; 5 clients, seeds 42-44, all runs in this process
on one thread. FED-PUB trains 5 epochs a round, the others as many as they do by themselves: 5 on images, 20 on graphs.
HideNseek's 2:4 mask is over all weights, since pruning would have chosen before it.

Cora's features are divided by their sum, about 18 words a paper. "cora, words" is the same graph with features of 0 and
1, 8 rounds, for the algorithms whose weights are frozen: those cannot grow to what divided features need.
"""

import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch

from fedsieve.client.app.holdings import deal_simulated
from fedsieve.config import parse
from fedsieve.data.graphs import load_graph
from fedsieve.simulations import simulate
from runs import RUNS, SEEDS, folder_of, heading, row

ROUNDS = {"digits": 10, "cora": 15, "cora, words": 8}
MASKS = {
    "fed-mask": ("binary", "sign", "ternary", "2:4", "1:4"),
    "hide-n-seek": ("sign", "binary", "ternary", "2:4"),
    "fed-pub": ("personal", "binary", "sign", "ternary", "2:4", "magnitude:0.5", "erk:0.5"),
}


def keys_of(data: str, algorithm: str, mask: str) -> dict[str, Any]:
    """Return the keys of a run but for its seed."""
    dataset = str(words()) if data == "cora, words" else data
    keys = {"algorithm": algorithm, "dataset": dataset, "num-clients": 5, f"{algorithm}.mask": mask}
    keys["num-rounds"] = ROUNDS[data]
    if algorithm == "fed-pub":
        keys["local-epochs"] = 5
    if algorithm == "hide-n-seek" and mask == "2:4":
        keys["hide-n-seek.density"] = 1.0
    return keys


def words() -> Path:
    """Return Cora as a graph of one's own, whose features say which words a paper has."""
    path = RUNS / "mask-families" / "cora-words.npz"
    if not path.exists():
        graph = load_graph("cora", seed=0)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, x=(graph.x > 0).float().numpy(), edge_index=graph.edge_index.numpy(), y=graph.y.numpy())
    return path


def measured(data: str, algorithm: str, mask: str, seed: int) -> dict[str, float]:
    """Return what one run has reached, at the round with the best mean validation accuracy."""
    folder = folder_of(f"mask-families/{data}-{algorithm}-{mask.replace(':', '_')}-{seed}")
    if not (folder / "summary.json").exists():
        keys = keys_of(data, algorithm, mask) | {"seed": seed, "out": str(folder), "checkpoint-every": 0}
        simulate(parse(keys), quiet=True)
    summary = json.loads((folder / "summary.json").read_text())
    best = rounds_of(folder)[summary["best_round"] - 1]
    return {
        "validation": 100 * best["val_accuracy"],
        "test": 100 * summary["test_accuracy"],
        "received": 100 * summary["test_accuracy_received"],
        "not 0": 100 * (1 - summary["mask_sparsity"]),
        "bytes": summary["uplink_payload_bytes_per_client_round"],
    }


def largest_class(seed: int) -> float:
    """Return the test accuracy, in %, of naming each client of Cora its largest training class."""
    found = []
    for client in deal_simulated(parse({"dataset": "cora", "num-clients": 5, "seed": seed})):
        graph = client.graph  # type: ignore[attr-defined]
        largest = graph.y[graph.train_mask].bincount().argmax()
        found.append(float((graph.y[graph.test_mask] == largest).float().mean()))
    return 100 * fmean(found)


def rounds_of(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of `rounds.jsonl`."""
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]


def main() -> None:
    torch.set_num_threads(1)
    heading("python benchmarks/mask_families.py")
    columns = ("validation, %", "test, %", "test as received, %", "entries not 0, %", "uplink payload, bytes")
    row("data", "algorithm", "mask", *columns)
    row(*["---"] * (3 + len(columns)))
    for data in ROUNDS:
        for algorithm, masks in MASKS.items():
            if data == "cora, words" and algorithm == "fed-pub":
                continue
            for mask in masks:
                found = [measured(data, algorithm, mask, seed) for seed in SEEDS]
                cells = [
                    f"{fmean(values):,.0f}" if name == "bytes" else f"{fmean(values):.1f} ± {stdev(values):.1f}"
                    for name in found[0]
                    for values in [[run[name] for run in found]]
                ]
                row(data, f"`{algorithm}`", f"`{mask}`", *cells)
    classes = [largest_class(seed) for seed in SEEDS]
    print(
        f"\nEach client's largest class alone, Cora: {fmean(classes):.1f} ± {stdev(classes):.1f} % of the test nodes."
    )


if __name__ == "__main__":
    main()
