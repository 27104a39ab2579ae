"""The embedded data set: FED-PUB by τ, and the comparison of `make demo`: `python benchmarks/digits.py`."""

from fedsieve.reports.compare import spread
from runs import SEEDS, heading, row, run

SETTING = {"dataset": "digits-knn", "partition": "metis-overlapping", "num-clients": 20}
METHODS: dict[str, dict[str, object]] = {
    f"fed-pub, tau {tau}": {"algorithm": "fed-pub", "fed-pub.tau": tau} for tau in (3.0, 5.0, 10.0, 15.0, 20.0)
} | {"fed-avg": {"algorithm": "fed-avg"}, "local": {"algorithm": "local"}}


def main() -> None:
    heading("python benchmarks/digits.py")
    row("method", "validation, %", "test, %", "masks zero, %")
    row(*["---"] * 4)
    for method, keys in METHODS.items():
        found = [run(f"digits/{method}-{seed}", SETTING | keys | {"seed": seed}) for seed in SEEDS]
        row(method, *(spread(found, key, 100) for key in ("val_accuracy", "test_accuracy", "mask_sparsity")))


if __name__ == "__main__":
    main()
