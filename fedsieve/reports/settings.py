"""Runs grouped by what was run: those that differ in their seed alone are one setting."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedsieve.algorithms import kebab
from fedsieve.errors import printable
from fedsieve.reports.words import counted
from fedsieve.runs.reading import RunRecord

TOLD = {
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


def settings_of(runs: Sequence[RunRecord]) -> list[Setting]:
    """Group the runs, in the order in which each setting comes first."""
    found: dict[tuple[Any, ...], Setting] = {}
    for run in runs:
        alike = [_keys(other) for other in runs if other.summary["algorithm"] == run.summary["algorithm"]]
        differing = {key: value for key, value in _keys(run).items() if any(keys.get(key) != value for keys in alike)}
        algorithm = " ".join([str(run.summary["algorithm"]), *(f"{key}={value}" for key, value in differing.items())])
        own = {"dataset": run.dataset, "num_rounds": run.wanted}
        values = (*(own.get(key, run.summary[key]) for key in TOLD if key != "algorithm"), algorithm)
        found.setdefault(values, Setting(values, [])).runs.append(run)
    return list(found.values())


def common(settings: Sequence[Setting]) -> list[bool]:
    """Return of each of `TOLD` whether all settings have it alike; the algorithm is never left out."""
    return [len({setting.values[at] for setting in settings}) == 1 for at in range(len(TOLD) - 1)] + [False]


def named(settings: Sequence[Setting]) -> list[tuple[Any, ...]]:
    """Return each setting's values as they are shown: printable, a data set's path by its name if only one has it."""
    paths = {str(setting.values[0]) for setting in settings}
    names = Counter(Path(path).name for path in paths)
    return [
        tuple(printable(value) if isinstance(value, str) else value for value in (_shown(dataset, names), *others))
        for dataset, *others in (setting.values for setting in settings)
    ]


def title_of(settings: Sequence[Setting]) -> str:
    """Return what all settings have in common: "cora, metis, 10 clients"."""
    words = zip(TOLD.values(), named(settings)[0], common(settings), strict=True)
    return ", ".join(_told(word, value) for word, value, shared in words if shared)


def labels_of(settings: Sequence[Setting]) -> list[str]:
    """Return what tells each setting from the others."""
    shared = common(settings)
    return [
        ", ".join(
            [str(values[-1])]
            + [
                _told(word, value)
                for word, value, alike in zip(TOLD.values(), values, shared, strict=True)
                if not alike and word != "algorithm"
            ]
        )
        for values in named(settings)
    ]


def stopped(settings: Sequence[Setting]) -> list[str]:
    """Return, in one sentence if any, which runs did fewer rounds than they were to: by patience, or cut off."""
    found = [
        f"{label}, seed {run.summary['seed']}, after {run.summary['num_rounds']:,} of {counted(run.wanted, 'round')}"
        for label, setting in zip(labels_of(settings), settings, strict=True)
        for run in setting.runs
        if run.summary["num_rounds"] < run.wanted
    ]
    return [f"Stopped earlier: {'; '.join(found)}."] if found else []


def _shown(dataset: str, names: Counter[str]) -> str:
    path = Path(dataset)
    return path.name if path.is_absolute() and names[path.name] == 1 else dataset


def _told(word: str, value: Any) -> str:
    return counted(value, word.removesuffix("s")) if word in {"clients", "rounds"} else str(value)


def _keys(run: RunRecord) -> dict[str, Any]:
    """Return the run's keys but for those that `TOLD` tells or that change nothing but the seed and the place."""
    told = {kebab(key) for key in TOLD} - {"algorithm"} | {"seed", "out", "dataset"}
    return {key: value for key, value in run.keys.items() if key not in told}
