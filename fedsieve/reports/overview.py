"""Runs as the rows of one table: the keys in which they differ, and what each has reached."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import rich.table
from rich import box
from rich.text import Text

from fedsieve.errors import UserError, make_printable, suggest
from fedsieve.reports.figure import Table
from fedsieve.reports.words import format_bytes, format_share
from fedsieve.runs.layout import CONFIG, RECORDS, SUMMARY
from fedsieve.runs.reading import RunRecord, read_run

HEADLINE = "test_accuracy"

PLACES = {"out"}
"""Keys that say where a run lies, which its name says."""


FIGURES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "test_accuracy": ("test accuracy", format_share),
    "test_accuracy_std": ("from client to client ±", format_share),
    "best_round": ("best round", str),
    "num_rounds": ("rounds", str),
    "mask_sparsity": ("zeros in masks", format_share),
    "uplink_bytes_per_client_round": ("sent by a client in a round", format_bytes),
    "seconds_per_round": ("seconds a round", "{:.3g}".format),
}
"""Of a summary: what each is called, and how it is written."""


def list_runs(
    runs: Sequence[RunRecord],
    sort: str = "",
    unreadable: Sequence[tuple[Path, str]] = (),
    root: Path | None = None,
) -> Table:
    """Return a row a run, the best first; the lowest first where it is sorted by a key and not by a figure.

    Args:
        runs: what is listed.
        sort: a key, or a figure of a summary; "": test accuracy.
        unreadable: folders that could not be read, and why; they come last.
        root: the folder in which runs are called by the rest of their path.

    Raises:
        UserError: no run has what is to be sorted by.
    """
    differing = find_differing_keys(runs)
    figures = [name for name in FIGURES if any(_take_figure(run, name) is not None for run in runs)]
    column = (sort or HEADLINE).replace("-", "_")
    by_figure = any(column in run.summary for run in runs)
    if sort and not by_figure and not any(sort in run.keys for run in runs):
        allowed = [*differing, *figures]
        raise UserError(f"sort: got {sort!r}{suggest(sort, allowed)}, allowed: {', '.join(allowed)}.")
    ordered = sorted(runs, key=lambda run: str(run.folder))
    ordered.sort(key=lambda run: _rank(run.summary.get(column) if by_figure else run.keys.get(sort), by_figure))
    values = []
    for run in ordered:
        reached = [_take_figure(run, name) for name in figures]
        values.append([_name(run.folder, root), *map(run.keys.get, differing), *reached, run.ended])
    values += [[_name(folder, root), *[None] * (len(differing) + len(figures)), why] for folder, why in unreadable]
    shows: list[Callable[[Any], str]] = [
        str,
        *[_format_key] * len(differing),
        *(FIGURES[name][1] for name in figures),
        str,
    ]
    rows = [["" if value is None else make_printable(show(value)) for show, value in zip(shows, row, strict=True)]
            for row in values]  # fmt: skip
    return Table(["run", *differing, *figures, "ended"], rows, values)


def find_runs(root: Path) -> tuple[list[RunRecord], list[tuple[Path, str]]]:
    """Return the runs in a folder and those below it, and the folders that cannot be read, each with why.

    Raises:
        UserError: there is no such folder, or no run in it.
    """
    if not root.is_dir():
        raise UserError(f"{root}: is no folder, allowed: one with runs in it.")
    runs: list[RunRecord] = []
    faults: list[tuple[Path, str]] = []

    def note(error: OSError) -> None:
        faults.append((Path(error.filename), f"cannot be read: {error.strerror}"))

    for place, folders, files in os.walk(root, onerror=note):
        folder = Path(place)
        if SUMMARY in files or (CONFIG in files and set(RECORDS) & set(files)):
            folders.clear()  # nothing in a run is one
            try:
                runs.append(read_run(folder))
            except UserError as error:
                faults.append((folder, str(error).removeprefix(f"{folder}: ").rstrip(".")))
        folders.sort()
    if not runs and not faults:
        raise UserError(f"{root}: holds no run, allowed: a folder with runs in it.")
    return runs, faults


def find_differing_keys(runs: Sequence[RunRecord]) -> list[str]:
    """Return the keys, of all the runs' in their order, that not all runs have alike."""
    keys = dict.fromkeys(key for run in runs for key in run.keys if key not in PLACES)
    return [key for key in keys if len({repr(run.keys.get(key)) for run in runs}) > 1]


def draw(table: Table) -> rich.table.Table:
    """Return the table for a terminal."""
    made = rich.table.Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in table.head:
        heading = FIGURES[name][0] if name in FIGURES else name
        made.add_column(Text(heading), justify="right" if name in FIGURES else "left", overflow="fold")
    for row in table.rows:
        made.add_row(*map(Text, row))
    return made


def _name(folder: Path, root: Path | None) -> str:
    return str(folder if root is None or folder == root else folder.relative_to(root))


def _take_figure(run: RunRecord, name: str) -> float | None:
    value = run.summary.get(name)
    return value if isinstance(value, int | float) else None


def _format_key(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _rank(value: Any, falling: bool) -> tuple[int, float, str]:
    """Return what orders values, numbers before words, and what is missing last."""
    if value is None:
        return 2, 0.0, ""
    if isinstance(value, int | float):
        return 0, -float(value) if falling else float(value), ""
    return 1, 0.0, str(value)
