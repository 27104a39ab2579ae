"""HideNseek and its baselines on images: `python benchmarks/images.py [--seeds 42 ...] [--methods local ...]`.

LeNet, 100 clients, 10 of them a round, 50 rounds, one local epoch of batches of 20 over all of a client's images, MNIST
and CIFAR-10, two classes a client and Dirichlet 0.3. All methods share seed, split and sampling. Learning rates were
chosen on validation accuracy (benchmarks/images_tuning.py). Two runs at a time, one thread each.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, product
from statistics import fmean, median
from typing import Any

from fedsieve.reports.compare import spread
from runs import SEEDS, folder_of, heading, row, run

COMMON = {"num-clients": 100, "fraction-train": 0.1, "num-rounds": 50, "local-epochs": 1, "model": "lenet"}
SETTINGS: dict[str, dict[str, object]] = {
    "cifar10, 2 classes a client": {"dataset": "cifar10", "partition": "pathological", "classes-per-client": 2},
    "cifar10, Dirichlet 0.3": {"dataset": "cifar10", "partition": "dirichlet", "alpha": 0.3},
    "mnist, 2 classes a client": {"dataset": "mnist", "partition": "pathological", "classes-per-client": 2},
    "mnist, Dirichlet 0.3": {"dataset": "mnist", "partition": "dirichlet", "alpha": 0.3},
}
METHODS: dict[str, dict[str, object]] = {
    "local": {"lr": 0.003},
    "fed-avg": {"lr": 0.003},
    "fed-mask": {"lr": 0.01},
    "fed-pm": {"lr": 0.1},
    "hide-n-seek": {"lr": 0.01},
    "lottery-fl": {"lr": 0.001},
    "fed-prox": {"lr": 0.003},
    "fed-pub": {"lr": 0.003},
}
SHARE_OF_LOCAL = 0.98
"""The target accuracy: this share of the best mean validation accuracy of local-only training."""

Runs = dict[tuple[str, str], list[dict[str, Any]]]


def name_of(setting: str, method: str, seed: int) -> str:
    return f"images/{setting}/{method}-{seed}"


def all_runs(methods: list[str], seeds: list[int], *, only_finished: bool) -> Runs:
    """Run whatever has not been run, two at a time; or only look at what has."""
    cases = [(setting, method, seed) for method, seed, setting in product(methods, seeds, SETTINGS)]
    if only_finished:
        cases = [case for case in cases if (folder_of(name_of(*case)) / "summary.json").exists()]

    def one(case: tuple[str, str, int]) -> dict[str, Any]:
        setting, method, seed = case
        keys = COMMON | SETTINGS[setting] | {"algorithm": method} | METHODS[method] | {"seed": seed}
        return run(name_of(setting, method, seed), keys)

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(one, cases))
    table: Runs = {}
    for (setting, method, _), summary in zip(cases, found, strict=True):
        table.setdefault((setting, method), []).append(summary)
    return table


def megabytes_until(target: float, summary: dict[str, Any]) -> float | None:
    """Return the bytes, up and down, of all clients until the mean validation accuracy reached `target`."""
    total = 0.0
    for line, accuracy in zip(summary["rounds"], validation_by_round(summary["clients"]), strict=False):
        total += line["uplink_bytes"] + line["downlink_bytes"]
        if accuracy >= target:
            return total / 1e6
    return None


def validation_by_round(lines: list[dict[str, str]]) -> list[float]:
    """Return each round's mean over all clients, one not heard of yet counting with its first training.

    It is the rule of `summary.json`; the means in `rounds.jsonl` are over the clients heard of so far.
    """
    heard = [line for line in lines if line["val_accuracy"]]
    standing: dict[str, float] = {}
    for line in heard:
        standing.setdefault(line["client"], float(line["val_accuracy"]))
    means = []
    for _, of_round in groupby(heard, key=lambda line: line["round"]):
        standing |= {line["client"]: float(line["val_accuracy"]) for line in of_round}
        means.append(fmean(standing.values()))
    return means


def cells(found: list[dict[str, Any]], targets: list[float]) -> list[str]:
    """Return a method's figures; a target that some seed missed is a dash."""
    for summary, target in zip(found, targets, strict=True):
        summary["until"] = megabytes_until(target, summary)
        clients = 0.1 * summary["num_clients"]
        summary["cpu"] = median(line["cpu_seconds"] for line in summary["timings"][:50]) / clients
    reached = all(summary["until"] is not None for summary in found)
    return [
        spread(found, "test_accuracy", 100),
        spread(found, "test_accuracy_received", 100),
        spread(found, "test_accuracy_global", 100),
        f"{fmean(s['uplink_bytes_per_client_round'] for s in found):,.0f}",
        f"{fmean(s['uplink_payload_bytes_per_client_round'] for s in found):,.0f}",
        f"{fmean(s['downlink_bytes_per_client_round'] for s in found):,.0f}",
        spread(found, "until", 1, digits=2) if reached else "-",
        spread(found, "cpu", 1, digits=3),
    ]


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    arguments.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    arguments.add_argument("--only-finished", action="store_true", help="run nothing; tell what has been run")
    chosen = arguments.parse_args()
    table = all_runs(chosen.methods, chosen.seeds, only_finished=chosen.only_finished)
    heading("python benchmarks/images.py")
    for setting in SETTINGS:
        targets = {s["seed"]: SHARE_OF_LOCAL * s["val_accuracy"] for s in table[setting, "local"]}
        print(f"\n{setting}; target: {100 * fmean(targets.values()):.1f} % validation accuracy\n")
        row("algorithm", "personal test %", "as received %", "global model %", "up, bytes", "of it payload",
            "down, bytes", "MB until target", "CPU s a client-round")  # fmt: skip
        row(*["---"] * 9)
        for method in chosen.methods:
            if found := table.get((setting, method)):
                seeds = ", ".join(str(summary["seed"]) for summary in found)
                name = method if len(found) == len(chosen.seeds) else f"{method} (seed {seeds})"
                row(name, *cells(found, [targets[summary["seed"]] for summary in found]))


if __name__ == "__main__":
    main()
