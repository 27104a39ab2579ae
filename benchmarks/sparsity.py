"""What sparsity costs: FED-PUB's three modes and a grid of proximal steps: `python benchmarks/sparsity.py`.

The default is the point with the best mean validation accuracy among those at least half sparse on both data sets.
"""

from runs import SEEDS, heading, row, run, spread

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
            name = mode.replace(", ", "-").replace(" ", "-")
            found = [
                run(f"sparsity/{dataset}-{name}-{seed}", {"dataset": dataset, "seed": seed} | keys) for seed in SEEDS
            ]
            row(
                dataset,
                mode,
                spread([100 * summary["val_accuracy"] for summary in found]),
                spread([100 * summary["test_accuracy"] for summary in found]),
                spread([100 * summary["mask_sparsity"] for summary in found]),
            )


if __name__ == "__main__":
    main()
