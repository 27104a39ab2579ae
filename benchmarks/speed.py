"""CPU seconds a round on one thread, beside the same rounds on PyG's own layers: `python benchmarks/speed.py`.

The reference trains the same model with the same masks, optimiser, evaluations, embedding and mixing, but with PyG's
GCNConv on the features and edges, as anybody would write it first; no messages, no screening, no files. The two
alternate, so that their ratio holds while the machine's speed drifts.
"""

import time
from statistics import median
from uuid import uuid4

import torch

from plain_pyg import PlainFedPub
from runs import heading, row, run

REPEATS = 5
ROUNDS = 30


def main() -> None:
    heading("python benchmarks/speed.py")
    row("data", "clients", "CPU s a round", "wall s a round", "PyG's layers, CPU s a round", "ratio, median of 5")
    row(*["---"] * 6)
    torch.set_num_threads(1)
    for dataset, partition, clients in (("cora", "metis", 10), ("cora", "metis-overlapping", 30)):
        keys = {"dataset": dataset, "partition": partition, "num-clients": clients, "num-rounds": ROUNDS,
                "fed-pub.sparsity": "none"}  # fmt: skip
        ours, walls, plain, ratios = [], [], [], []
        for _ in range(REPEATS):
            times = run(f"speed/{uuid4().hex}", keys)["timings"][3:]
            ours.append(median(line["cpu_seconds"] for line in times))
            walls.append(median(line["seconds"] for line in times))
            plain.append(_plain_round(dataset, partition, clients))
            ratios.append(plain[-1] / ours[-1])
        row(
            dataset,
            clients,
            f"{median(ours):.3f}",
            f"{median(walls):.3f}",
            f"{median(plain):.3f}",
            f"{median(ratios):.1f}",
        )


def _plain_round(dataset: str, partition: str, clients: int) -> float:
    reference = PlainFedPub(dataset, partition, clients)
    spent = []
    for _ in range(8):
        began = time.process_time()
        reference.round()
        spent.append(time.process_time() - began)
    return median(spent[2:])


if __name__ == "__main__":
    main()
