"""What checkpoints cost a round: `python benchmarks/checkpoints.py`.

The same run with a checkpoint after every round and with one at its end alone (`checkpoint-every = 0`), in turns, so
that their ratio holds while the machine's speed drifts. Wall seconds are the whole run's over its rounds, the time
that a round waits for the checkpoint before it included; CPU seconds are a round's median, the writing thread's
included. On disk are two checkpoints.
"""

from statistics import median
from uuid import uuid4

from runs import folder_of, heading, row, run

IMAGES = {"dataset": "mnist", "partition": "pathological", "num-clients": 100, "fraction-train": 0.1, "num-rounds": 20}
CASES: dict[str, dict[str, object]] = {
    "fed-pub, Cora, 10 clients": {"algorithm": "fed-pub", "dataset": "cora", "num-rounds": 60},
    "fed-avg, Cora, 10 clients": {"algorithm": "fed-avg", "dataset": "cora", "num-rounds": 60},
    "fed-pub, MNIST, 10 of 100 clients": IMAGES | {"algorithm": "fed-pub"},
    "hide-n-seek, MNIST, 10 of 100 clients": IMAGES | {"algorithm": "hide-n-seek", "local-epochs": 1},
}
REPEATS = 3


def once(keys: dict[str, object], every: int) -> tuple[float, float, float]:
    """Return wall and CPU seconds of a round, and the MB of `checkpoint/` at the end."""
    name = f"checkpoints/{uuid4().hex}"
    found = run(name, keys | {"checkpoint-every": every})
    size = sum(path.stat().st_size for path in (folder_of(name) / "checkpoint").iterdir())
    cpu = median(line["cpu_seconds"] for line in found["timings"][1:])
    return found["wall_seconds"] / found["num_rounds"], cpu, size / 1e6


def main() -> None:
    heading("python benchmarks/checkpoints.py")
    row("run", "wall s a round without", "with", "ratio", "CPU s a round without", "with", "ratio", "MB on disk")
    row(*["---"] * 8)
    for name, keys in CASES.items():
        without, with_ = [], []
        for _ in range(REPEATS):
            without.append(once(keys, 0))
            with_.append(once(keys, 1))
        told: list[str] = []
        for measure in (0, 1):
            ratio = median(ours[measure] / theirs[measure] for ours, theirs in zip(with_, without, strict=True))
            told += [f"{median(each[measure] for each in kind):.3f}" for kind in (without, with_)] + [f"{ratio:.2f}"]
        row(name, *told, f"{with_[-1][2]:.1f}")


if __name__ == "__main__":
    main()
