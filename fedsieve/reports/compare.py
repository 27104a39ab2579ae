"""Run folders side by side: one row a setting, mean and deviation over seeds."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich import box
from rich.filesize import pick_unit_and_suffix
from rich.table import Table
from rich.text import Text

from fedsieve.algorithm import kebab
from fedsieve.config import parse, read
from fedsieve.server.run_folder import read_summary

SETTING = {
    "dataset": "data set",
    "partition": "partition",
    "num_clients": "clients",
    "num_rounds": "rounds",
    "algorithm": "algorithm",
}
UP = "uplink_bytes_per_client_round"
CAPTION = (
    "test: accuracy of each client's own model after its training, mean over clients, at the round with the best mean "
    "validation accuracy; received: the same for the model as it was sent; F1: macro; zeros: of the masks; up: sent by "
    "a client in a round"
)


def comparison(folders: Sequence[Path]) -> Table:
    """Return a table of the runs in `folders`; runs that differ in their seed alone share a row.

    What all runs have in common stands in the title; other keys in which runs of one algorithm differ, beside it.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    configured = {folder: _keys(folder) for folder in folders}
    for folder in folders:
        summary = read_summary(folder)
        alike = [keys for keys in configured.values() if keys.get("algorithm") == summary["algorithm"]]
        differing = {
            key: value for key, value in configured[folder].items() if any(keys.get(key) != value for keys in alike)
        }
        named = " ".join([str(summary["algorithm"]), *(f"{key}={value}" for key, value in differing.items())])
        groups[(*(summary[key] for key in SETTING if key != "algorithm"), named)].append(summary)
    common = [len({setting[index] for setting in groups}) == 1 for index in range(len(SETTING))]
    common[-1] = False
    words = zip(SETTING.values(), next(iter(groups)), common, strict=True)
    title = ", ".join(f"{value} {word}" if word in {"clients", "rounds"} else str(value)
                      for word, value, shared in words if shared)  # fmt: skip
    table = Table(title=Text(title, style="bold"), caption=Text(CAPTION, style="dim"), box=box.SIMPLE_HEAD)
    for word, shared in zip(SETTING.values(), common, strict=True):
        if not shared:
            table.add_column(word, no_wrap=word == "algorithm")
    unit, name = _unit([run[UP] for runs in groups.values() for run in runs if run[UP] is not None])
    for column in ("seeds", "test %", "received %", "F1 %", "zeros %", f"up {name}", "s a round"):
        table.add_column(column, justify="right", no_wrap=column == "test %")
    for setting, runs in groups.items():
        own = (Text(str(value)) for value, shared in zip(setting, common, strict=True) if not shared)
        table.add_row(
            *own,
            ", ".join(str(run["seed"]) for run in runs),
            spread(runs, "test_accuracy", 100),
            spread(runs, "test_accuracy_received", 100),
            spread(runs, "test_macro_f1", 100),
            spread(runs, "mask_sparsity", 100),
            spread(runs, UP, 1 / unit),
            spread(runs, "seconds_per_round", 1, digits=3),
        )
    return table


def _keys(folder: Path) -> dict[str, Any]:
    """Return the run's keys but for those that `SETTING` tells or that change nothing but the seed and the place."""
    path = folder / "config.toml"
    told = {kebab(key) for key in SETTING} - {"algorithm"} | {"seed", "out", "dataset"}
    flat = parse(read(path)).flat() if path.exists() else {}
    return {key: value for key, value in flat.items() if key not in told}


def _unit(sizes: Sequence[float]) -> tuple[int, str]:
    """Return the unit in which all sizes are at least 1, in bytes, and its name; kB where there are none."""
    return pick_unit_and_suffix(int(min(sizes, default=1000)), ["bytes", "kB", "MB", "GB"], 1000)


def spread(runs: Sequence[dict[str, Any]], key: str, factor: float, digits: int = 1) -> str:
    """Return `mean ± deviation` of a figure over runs, without the deviation for one run, "-" where it is missing."""
    values = [factor * run[key] for run in runs if run[key] is not None]
    if not values:
        return "-"
    mean = f"{fmean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {stdev(values):.{digits}f}"
