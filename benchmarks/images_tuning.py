"""Learning rates for benchmarks/images.py, on validation accuracy: `python benchmarks/images_tuning.py`.

CIFAR-10 under Dirichlet 0.3, 30 rounds, a seed that the table does not use. Adam throughout.
"""

from concurrent.futures import ThreadPoolExecutor

from images import COMMON, SETTINGS
from runs import heading, row, run

SEED = 45
SETTING = SETTINGS["cifar10, Dirichlet 0.3"]
TRAINED, MASKED = (0.001, 0.003, 0.01), (0.003, 0.01, 0.03)
RATES = {
    "local": TRAINED,
    "fed-avg": TRAINED,
    "fed-pub": TRAINED,
    "lottery-fl": (0.0003, *TRAINED),
    "fed-mask": MASKED,
    "fed-pm": (0.03, 0.1, 0.3),
    "hide-n-seek": MASKED,
}


def main() -> None:
    cases = [(method, lr) for method, rates in RATES.items() for lr in rates]

    def one(case: tuple[str, float]) -> float:
        method, lr = case
        keys = COMMON | SETTING | {"num-rounds": 30, "seed": SEED, "algorithm": method, "lr": lr}
        return float(run(f"images-tuning/{method}-{lr:g}", keys)["val_accuracy"])

    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(cases, pool.map(one, cases), strict=True))
    heading("python benchmarks/images_tuning.py")
    row("algorithm", "learning rate: best mean validation accuracy, %")
    row("---", "---")
    for method, rates in RATES.items():
        row(method, ", ".join(f"{lr:g}: {100 * found[method, lr]:.1f}" for lr in rates))


if __name__ == "__main__":
    main()
