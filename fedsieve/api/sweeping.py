"""`fedsieve.sweep`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fedsieve.api.given import check_crosses, gather
from fedsieve.api.results import Run
from fedsieve.api.scope import leave_as_it_was
from fedsieve.errors import RunFailedError
from fedsieve.paths import expand
from fedsieve.reports.overview import list_runs
from fedsieve.runs.reading import read_run
from fedsieve.simulations.combinations import expand_experiment
from fedsieve.simulations.experiment import find, make_experiment, read_experiment
from fedsieve.simulations.sweep import sweep as run_all


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep by name, all of which have ended."""

    runs: dict[str, Run]

    @property
    def table(self) -> pd.DataFrame:
        """A row a run, the best first: the keys in which they differ, and what each has reached."""
        made = list_runs([read_run(run.folder) for run in self.runs.values()])
        return pd.DataFrame(made.values, columns=made.head)

    def _repr_html_(self) -> str:
        """Return the table."""
        return str(self.table.to_html())


def sweep(
    experiment: str | Path | None = None,
    out: str | Path | None = None,
    *,
    seeds: Sequence[int] = (42,),
    jobs: int = 1,
    quiet: bool = False,
    settings: Mapping[str, Any] | None = None,
    **keys: Any,
) -> Sweep:
    """Run every combination of keys that have lists, with each seed, and skip what has ended before.

    Args:
        experiment: an experiment file, or the name of a built-in one, in place of keys.
        out: where the runs lie, by default `runs/sweep` or `runs/<name of the file>`.
        seeds: of each combination.
        jobs: runs at once, each in a process of its own.
        quiet: show no progress on standard error.
        settings: the own keys of the algorithm, where there is one.
        keys: as of `fedsieve.run`; a list is swept.

    Raises:
        UserError: what was given cannot be run, or `out` holds other runs.
        RunFailedError: some runs could not continue; the others have ended.
    """
    with leave_as_it_was():
        path = Path("sweep") if experiment is None else find(str(experiment))
        given = experiment is not None
        asked = read_experiment(path) if given else make_experiment(_gather_values(seeds, settings, keys))
        points = expand_experiment(asked, path)
        for point in points:
            check_crosses(point.run, alone=False)  # each run has a process of its own
        folder = Path("runs") / path.stem if out is None else expand(out)
        failed = run_all(points, folder, jobs=jobs, quiet=quiet)
    if failed:
        faults = "; ".join(f"{name}: {fault.rstrip('.')}" for name, fault in failed.items())
        raise RunFailedError(f"{len(failed)} of {len(points)} runs failed: {faults}.")
    return Sweep({point.name: Run(folder / point.name) for point in points})


def _gather_values(seeds: Sequence[int], settings: Mapping[str, Any] | None, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an experiment file would say."""
    lists = {key: list(value) for key, value in keys.items() if isinstance(value, list | tuple | range)}
    objects = {key: keys.get(key) for key in ("algorithm", "dataset", "model") if key not in lists}
    others = {key: value for key, value in keys.items() if key not in lists and key not in objects}
    base = _gather_some(objects, settings, others)
    swept: dict[str, list[Any]] = {}
    for key, values in lists.items():
        for value in values:
            for name, plain in _gather_some({key: value}, None, {}).items():
                swept.setdefault(name, []).append(plain)
    return base | {"seeds": [int(seed) for seed in seeds], "sweep": swept}


def _gather_some(
    objects: Mapping[str, Any], settings: Mapping[str, Any] | None, others: Mapping[str, Any]
) -> dict[str, Any]:
    known = {key: objects.get(key) for key in ("algorithm", "dataset", "model")}
    rest = {key: value for key, value in objects.items() if key not in known}
    return gather(known["algorithm"], known["dataset"], known["model"], settings, {**rest, **others})
