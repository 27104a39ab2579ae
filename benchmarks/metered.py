"""The algorithm of trivial.py, which also tells what was spent when its first and its last round are combined.

For benchmarks/lean_grid.py: start and end of a run are left out. METERED names a folder; `roots.json` in it, the ids of
the processes that count, with all that they have started. METERED_ROUNDS: rounds of the run.
"""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from fedsieve.algorithms import Algorithm, AlgorithmConfig
from fedsieve.contract import Arrays, Replies
from trivial import Trivial, TrivialTrainer


class Metered(Trivial):
    """Write a line with CPU seconds after the first and the last round."""

    def begin(self, initial: Arrays) -> None:
        super().begin(initial)
        self.round = 0

    def combine(self, replies: Replies) -> None:
        super().combine(replies)
        self.round += 1
        if self.round in {1, int(os.environ["METERED_ROUNDS"])}:
            folder = Path(os.environ["METERED"])
            roots = json.loads((folder / "roots.json").read_text())
            with (folder / "spent.jsonl").open("a") as file:
                file.write(f"{cpu_seconds([*roots, os.getpid()])}\n")


def cpu_seconds(roots: Sequence[int]) -> float:
    """Return what these processes and all that they have started have spent, ended ones included."""
    found = set[psutil.Process]()
    for root in map(psutil.Process, roots):
        found |= {root, *root.children(recursive=True)}
    total = 0.0
    for process in found:
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


ALGORITHM = Algorithm("next to nothing, metered", AlgorithmConfig, Metered, TrivialTrainer)
