"""Runs grouped by what was run: those that differ in their seed alone are one setting."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedsieve.algorithms import kebab
from fedsieve.errors import make_printable
from fedsieve.reports.words import format_count
from fedsieve.runs.reading import RunRecord

HEADINGS = {
    "dataset": "data set",
    "partition": "partition",
    "num_clients": "clients",
    "num_rounds": "rounds",
    "algorithm": "algorithm",
}


@dataclass(frozen=True)
class Setting:
    """What some runs have in common but for their seeds.

    Attributes:
        values: of the keys in `TOLD`, in their order; the algorithm with the keys in which its settings differ.
        runs: in the order in which they were given.
    """

    values: tuple[Any, ...]
    runs: list[RunRecord]


def group_by_setting(runs: Sequence[RunRecord]) -> list[Setting]:
    """Group the runs, in the order in which each setting comes first."""
    settings: dict[tuple[Any, ...], Setting] = {}
    for run in runs:
        alike = [_select_keys(other) for other in runs if other.summary["algorithm"] == run.summary["algorithm"]]
        differing = {
            key: value for key, value in _select_keys(run).items() if any(keys.get(key) != value for keys in alike)
        }
        algorithm = " ".join([str(run.summary["algorithm"]), *(f"{key}={value}" for key, value in differing.items())])
        whole = {"dataset": run.dataset, "num_rounds": run.wanted}
        values = (*(whole.get(key, run.summary[key]) for key in HEADINGS if key != "algorithm"), algorithm)
        settings.setdefault(values, Setting(values, [])).runs.append(run)
    return list(settings.values())


def find_shared(settings: Sequence[Setting]) -> list[bool]:
    """Return of each of `TOLD` whether all settings have it alike; the algorithm is never left out."""
    return [len({setting.values[at] for setting in settings}) == 1 for at in range(len(HEADINGS) - 1)] + [False]


def format_values(settings: Sequence[Setting]) -> list[tuple[Any, ...]]:
    """Return each setting's values as they are shown: printable, a data set's path by its name if only one has it."""
    paths = {str(setting.values[0]) for setting in settings}
    names = Counter(Path(path).name for path in paths)
    return [
        tuple(
            make_printable(value) if isinstance(value, str) else value
            for value in (_shorten_path(dataset, names), *others)
        )
        for dataset, *others in (setting.values for setting in settings)
    ]


def make_title(settings: Sequence[Setting]) -> str:
    """Return what all settings have in common: "cora, metis, 10 clients"."""
    words = zip(HEADINGS.values(), format_values(settings)[0], find_shared(settings), strict=True)
    return ", ".join(_format_value(word, value) for word, value, shared in words if shared)


def make_labels(settings: Sequence[Setting]) -> list[str]:
    """Return what tells each setting from the others."""
    shared = find_shared(settings)
    return [
        ", ".join(
            [str(values[-1])]
            + [
                _format_value(word, value)
                for word, value, alike in zip(HEADINGS.values(), values, shared, strict=True)
                if not alike and word != "algorithm"
            ]
        )
        for values in format_values(settings)
    ]


def list_stopped(settings: Sequence[Setting]) -> list[str]:
    """Return, in one sentence if any, which runs did fewer rounds than they were to: by patience, or cut off."""
    stopped = [
        f"{label}, seed {run.summary['seed']}, after {run.summary['num_rounds']:,} of "
        f"{format_count(run.wanted, 'round')}"
        for label, setting in zip(make_labels(settings), settings, strict=True)
        for run in setting.runs
        if run.summary["num_rounds"] < run.wanted
    ]
    return [f"Stopped earlier: {'; '.join(stopped)}."] if stopped else []


def _shorten_path(dataset: str, names: Counter[str]) -> str:
    path = Path(dataset)
    return path.name if path.is_absolute() and names[path.name] == 1 else dataset


def _format_value(word: str, value: Any) -> str:
    return format_count(value, word.removesuffix("s")) if word in {"clients", "rounds"} else str(value)


def _select_keys(run: RunRecord) -> dict[str, Any]:
    """Return the run's keys but for those that `TOLD` tells or that change nothing but the seed and the place."""
    shown = {kebab(key) for key in HEADINGS} - {"algorithm"} | {"seed", "out", "dataset"}
    return {key: value for key, value in run.keys.items() if key not in shown}
