"""What sparsity costs: FED-PUB's three modes and a grid of proximal steps: `python benchmarks/sparsity.py`.

The default is the point with the best mean validation accuracy among those at least half sparse on both data sets.
"""

from fedsieve.reports.compare import spread
from runs import SEEDS, heading, row, run

MODES: dict[str, dict[str, object]] = {
    "none": {"fed-pub.sparsity": "none"},
    "subgradient": {"fed-pub.sparsity": "subgradient"},
} | {
    f"proximal, prox {prox}, prox-power {power}": {
        "fed-pub.sparsity": "proximal",
        "fed-pub.prox": prox,
        "fed-pub.prox-power": power,
    }
    for power, proxes in ((0.0, (0.45, 0.5)), (1.0, (0.3,)), (2.0, (0.2, 0.3, 0.5)))
    for prox in proxes
}


def main() -> None:
    heading("python benchmarks/sparsity.py")
    row("data", "mode", "validation, %", "test, %", "masks zero, %")
    row(*["---"] * 5)
    for mode, keys in MODES.items():
        for dataset in ("cora", "citeseer"):
            found = [
                run(f"sparsity/{dataset}-{mode}-{seed}", {"dataset": dataset, "seed": seed} | keys) for seed in SEEDS
            ]
            figures = (spread(found, key, 100) for key in ("val_accuracy", "test_accuracy", "mask_sparsity"))
            row(dataset, mode, *figures)


if __name__ == "__main__":
    main()
