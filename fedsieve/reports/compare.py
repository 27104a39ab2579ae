"""Settings side by side: one row each, mean and deviation over seeds."""

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from fedsieve.reports import figure
from fedsieve.reports.settings import HEADINGS, Setting, find_shared, format_values, make_title
from fedsieve.reports.words import pick_unit
from fedsieve.runs.reading import RunRecord

UP = "uplink_bytes_per_client_round"
WHOLE = {"algorithm", "test %"}
"""Columns that are never wrapped."""

CAPTION = (
    "test: accuracy of each client's own model after its training, mean over clients, at the best round, the one with "
    "the best mean validation accuracy; final: the same after the last round; received, F1 (macro) and zeros (of the "
    "masks): at the best round, received before the client's training; up: sent by a client in a round"
)


def tabulate(settings: Sequence[Setting]) -> figure.Table:
    """Return the table of the settings; what all have in common is in none of its columns."""
    shared = find_shared(settings)
    head = [word for word, alike in zip(HEADINGS.values(), shared, strict=True) if not alike]
    head += ["seeds", "test %", "best round", "final %", "received %", "F1 %", "zeros %", "up", "s per round"]
    rows = []
    for setting, values in zip(settings, format_values(settings), strict=True):
        runs = [run.summary for run in setting.runs]
        cells = [str(value) for value, alike in zip(values, shared, strict=True) if not alike]
        cells += [
            ", ".join(str(run["seed"]) for run in runs),
            format_spread(runs, "test_accuracy", 100),
            format_best_rounds(setting.runs),
            format_spread(runs, "test_accuracy_final", 100),
            format_spread(runs, "test_accuracy_received", 100),
            format_spread(runs, "test_macro_f1", 100),
            format_spread(runs, "mask_sparsity", 100),
            _format_upload(runs),
            format_spread(runs, "seconds_per_round", 1, digits=3),
        ]
        rows.append(cells)
    return figure.Table(head, rows)


def tabulate_comparison(settings: Sequence[Setting]) -> Table:
    """Return `rows_of` for a terminal, with what all settings have in common as its title."""
    rows = tabulate(settings)
    title = Text(make_title(settings), style="bold")
    table = Table(title=title, caption=Text(CAPTION, style="dim"), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    names = sum(not alike for alike in find_shared(settings))
    for at, column in enumerate(rows.head):
        justify = "left" if at < names else "right"
        heading = "\n".join(column.rsplit(" ", 1)) if at >= names else column  # numbers are short
        table.add_column(heading, justify=justify, no_wrap=column in WHOLE, overflow="fold")  # type: ignore[arg-type]
    for row in rows.rows:
        table.add_row(*map(Text, row))
    return table


def _format_upload(runs: Sequence[dict[str, Any]]) -> str:
    """Return what a client sends in a round, with a unit of its own: settings can be a million times apart."""
    sizes = [run[UP] for run in runs if run.get(UP) is not None]
    unit, name = pick_unit(fmean(sizes)) if sizes else (1, "")
    return f"{format_spread(runs, UP, 1 / unit)} {name}".rstrip()


def format_best_rounds(runs: Sequence[RunRecord]) -> str:
    """Return each run's best round, "7, 12 of 60" where the second stopped after 60; "-" without any."""
    rounds = [_format_best_round(run) for run in runs]
    return ", ".join(rounds) if any(cell != "-" for cell in rounds) else "-"


def _format_best_round(run: RunRecord) -> str:
    best, rounds = run.summary.get("best_round"), run.summary["num_rounds"]
    if not best:
        return "-"
    return str(best) if rounds == run.wanted else f"{best} of {rounds}"


def format_spread(runs: Sequence[dict[str, Any]], key: str, factor: float, digits: int = 1) -> str:
    """Return `mean ± deviation` of a figure over runs, without the deviation for one run, "-" where it is missing."""
    values = [factor * run[key] for run in runs if run.get(key) is not None]
    if not values:
        return "-"
    mean = f"{fmean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {stdev(values):.{digits}f}"
