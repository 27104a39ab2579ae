"""Seconds a round of each engine on the runs of docs/results.md: `python benchmarks/rounds_by_engine.py`.

FED-PUB on Cora (10 and 30 clients) and Computers (30), HideNseek on CIFAR-10 (100 clients, 10 a round); two workers
where there are any, evaluation included, which is in every round's one message. Engines take turns, once a seed.
"""

from statistics import mean, median, stdev

from runs import SEEDS, heading, row, run

ENGINES = {"inline": {}, "ray": {"num-workers": 2}, "flower": {"num-workers": 2}}
PUB = {"algorithm": "fed-pub", "num-rounds": 12}
CASES = {
    "fed-pub, Cora, 10": PUB | {"dataset": "cora", "num-clients": 10},
    "fed-pub, Cora, 30": PUB | {"dataset": "cora", "num-clients": 30},
    "fed-pub, Computers, 30": PUB | {"dataset": "computers", "num-clients": 30},
    "hide-n-seek, CIFAR-10, 100": {"algorithm": "hide-n-seek", "dataset": "cifar10", "partition": "pathological",
                                   "num-clients": 100, "fraction-train": 0.1, "num-rounds": 6},
}  # fmt: skip


def main() -> None:
    """Print the table."""
    heading("python benchmarks/rounds_by_engine.py")
    row("run", "engine", "wall s a round", "inline's / this", "CPU s a round", "peak MB")
    row(*["---"] * 6)
    for case, keys in CASES.items():
        walls: dict[str, list[float]] = {engine: [] for engine in ENGINES}
        cpus: dict[str, list[float]] = {engine: [] for engine in ENGINES}
        peaks: dict[str, list[float]] = {engine: [] for engine in ENGINES}
        for seed in SEEDS:
            for engine, workers in ENGINES.items():
                asked = keys | workers | {"engine": engine, "seed": seed}
                summary = run(f"rounds/{case}, {engine}, {seed}", asked)
                rounds = summary["timings"][1 : keys["num-rounds"]]  # the last training of the others comes after
                walls[engine].append(median(line["seconds"] for line in rounds))
                cpus[engine].append(mean(line["cpu_seconds"] for line in rounds))
                peaks[engine].append(summary["peak_rss_mb"])
        for engine in ENGINES:
            ratio = mean(ours / this for ours, this in zip(walls["inline"], walls[engine], strict=True))
            row(case, engine, f"{mean(walls[engine]):.3f} ± {stdev(walls[engine]):.3f}", f"{ratio:.2f}",
                f"{mean(cpus[engine]):.3f} ± {stdev(cpus[engine]):.3f}", f"{max(peaks[engine]):,.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
