"""Run folders side by side: one row a setting, mean and deviation over seeds."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.table import Table

from fedsieve.server.run_folder import read_summary

SETTING = ("dataset", "partition", "num_clients", "num_rounds", "algorithm")


def comparison(folders: Sequence[Path]) -> Table:
    """Return a table of the runs in `folders`; runs that differ in their seed alone share a row."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for folder in folders:
        summary = read_summary(folder)
        groups[tuple(summary[key] for key in SETTING)].append(summary)
    table = Table(title="test accuracy: mean over clients of each client's own model, at the best validation round")
    for column in ("data set", "partition", "clients", "rounds", "algorithm", "seeds"):
        table.add_column(column)
    for column in ("test accuracy, %", "as received, %", "macro F1, %", "masks zero, %", "sent up, kB", "s a round"):
        table.add_column(column, justify="right")
    for setting, runs in groups.items():
        table.add_row(
            *(str(value) for value in setting),
            ", ".join(str(run["seed"]) for run in runs),
            spread(runs, "test_accuracy", 100),
            spread(runs, "test_accuracy_received", 100),
            spread(runs, "test_macro_f1", 100),
            spread(runs, "mask_sparsity", 100),
            spread(runs, "uplink_bytes_per_client_round", 1e-3),
            spread(runs, "seconds_per_round", 1, digits=3),
        )
    return table


def spread(runs: Sequence[dict[str, Any]], key: str, factor: float, digits: int = 1) -> str:
    """Return `mean ± deviation` of a figure over runs, without the deviation for one run, "-" where it is missing."""
    values = [factor * run[key] for run in runs if run[key] is not None]
    if not values:
        return "-"
    mean = f"{fmean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {stdev(values):.{digits}f}"
