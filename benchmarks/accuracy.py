"""Accuracy of FED-PUB, FedAvg and local-only, 100 rounds, seeds 42-44: `python benchmarks/accuracy.py`.

Two protocols: everything drawn from each run's seed, and the published code's, which draws the split and the partition
once, with seed 1234, so that seeds vary only the initial weights and dropout.
"""

from fedsieve.reports.compare import spread
from runs import SEEDS, heading, row, run

SETTINGS = (
    ("cora", "metis", 10),
    ("citeseer", "metis", 10),
    ("cora", "metis-overlapping", 30),
)
TAU = {"metis": 3.0, "metis-overlapping": 5.0}
ALGORITHMS = {
    "local": {"algorithm": "local"},
    "fed-avg": {"algorithm": "fed-avg"},
    "fed-pub, none": {"algorithm": "fed-pub", "fed-pub.sparsity": "none"},
    "fed-pub, proximal": {"algorithm": "fed-pub", "fed-pub.sparsity": "proximal"},
}


def main() -> None:
    heading("python benchmarks/accuracy.py")
    row("data", "partition", "clients", "split and partition", *ALGORITHMS, "proximal: masks zero, %")
    row(*["---"] * (5 + len(ALGORITHMS)))
    for data_seed in (0, 1234):
        for dataset, partition, clients in SETTINGS:
            cells = []
            for name, keys in ALGORITHMS.items():
                setting = {"dataset": dataset, "partition": partition, "num-clients": clients, "data-seed": data_seed}
                tau = {"fed-pub.tau": TAU[partition]} if keys["algorithm"] == "fed-pub" else {}
                folder = f"accuracy/{data_seed}/{dataset}-{partition}-{clients}/{name}"
                found = [run(f"{folder}-{seed}", setting | keys | tau | {"seed": seed}) for seed in SEEDS]
                cells.append(spread(found, "test_accuracy", 100))
            zeros = spread(found, "mask_sparsity", 100)
            row(dataset, partition, clients, data_seed or "each run's seed", *cells, zeros)


if __name__ == "__main__":
    main()
