"""Peak memory (PSS) of FED-PUB with 30 clients on Computers: `python benchmarks/memory.py`."""

from runs import SEEDS, heading, row, run


def main() -> None:
    heading("python benchmarks/memory.py")
    row("data", "clients", "seed", "peak MB", "test accuracy, %", "wall s a round")
    row(*["---"] * 6)
    for seed in SEEDS:
        keys = {"dataset": "computers", "num-clients": 30, "num-rounds": 10, "seed": seed}
        found = run(f"memory/{seed}", keys)
        row("computers", 30, seed, found["peak_rss_mb"], f"{100 * found['test_accuracy']:.1f}",
            f"{found['seconds_per_round']:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
