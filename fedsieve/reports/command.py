"""`fedsieve report`: tables on the terminal, a page for each run, and one that compares them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from fedsieve.errors import UserError
from fedsieve.reports.compare import tabulate, tabulate_comparison
from fedsieve.reports.comparison import (
    PAGE,
    check_ours,
    describe_pairs,
    tabulate_pairs,
    write_comparison,
)
from fedsieve.reports.formats import Format, format_tables
from fedsieve.reports.page import write_report
from fedsieve.reports.paired import find_other_data
from fedsieve.reports.settings import Setting, group_by_setting, list_stopped
from fedsieve.runs.layout import RunLayout
from fedsieve.runs.reading import RunRecord, read_run

if TYPE_CHECKING:
    from rich.console import Console

LOCAL = "local"
"""The algorithm that federates nothing."""


def report(
    folders: Sequence[Path],
    local: Path | None,
    out: Path | None,
    show: Callable[[str], None],
    console: "Console",
    wanted: Format = Format.TEXT,
) -> None:
    """Write the pages and tell where they are.

    Args:
        folders: of runs; each gets its page written again.
        local: a local-only run, against which each is shown; if left out, that of `folders` with the same clients.
        out: the page that compares several runs.
        show: takes a sentence.
        console: takes the tables.
        wanted: how these are printed.

    Raises:
        UserError: a folder is not that of a run, or a page cannot be written.
    """
    folders = _drop_repeats(folders, show)
    if out is not None and len(folders) < 2:
        raise UserError("--out: names the page that compares runs, got one run, allowed: two or more.")
    path = out or PAGE
    if len(folders) > 1:
        check_ours(path)
    runs = [read_run(folder) for folder in folders]
    alone = None if local is None else _read_local(local, runs)
    settings = group_by_setting(runs)
    if wanted is Format.TEXT:
        console.print(tabulate_comparison(settings))
    else:
        tables = [tabulate(settings), *([tabulate_pairs(settings)] if len(settings) > 1 else [])]
        console.out(format_tables([table for table in tables if table.rows], wanted), highlight=False)
    for sentence in list_stopped(settings):
        show(sentence)
    if len(settings) > 1:
        _show_pairs(settings, show, console if wanted is Format.TEXT else None)
    for run in runs:
        page = write_report(run, alone or _find_local(run, runs))
        show(f"{page}, and PNG files of its figures in {RunLayout(run.folder).figures}")
    if len(runs) > 1:
        figures = write_comparison(path, settings)
        show(f"{path}, which compares them, and PNG files of its figures in {figures}")


def _drop_repeats(folders: Sequence[Path], show: Callable[[str], None]) -> list[Path]:
    """Return the folders without those that were given before, which is said: a run counted twice is no two seeds."""
    distinct: dict[Path, Path] = {}
    for folder in folders:
        if folder.resolve() in distinct:
            show(f"{folder} is given more than once, and counts once.")
        distinct.setdefault(folder.resolve(), folder)
    return list(distinct.values())


def _show_pairs(settings: Sequence[Setting], show: Callable[[str], None], console: "Console | None") -> None:
    pairs = tabulate_pairs(settings)
    if pairs.rows and console is not None:
        table = Table(title=Text("Paired differences", style="bold"), box=box.SIMPLE_HEAD)
        for column in pairs.head:
            table.add_column(column)
        for row in pairs.rows:
            table.add_row(*map(Text, row))
        console.print(table)
    for sentence in describe_pairs(settings):
        show(sentence)


def _read_local(local: Path, runs: Sequence[RunRecord]) -> RunRecord:
    alone = read_run(local)
    if alone.summary["algorithm"] != LOCAL:
        raise UserError(f"--local: {local} is a run of {alone.summary['algorithm']}, allowed: one of {LOCAL}.")
    for run in runs:
        if key := find_other_data(run, alone):
            raise UserError(
                f"--local: the clients of {local} do not hold the same data as those of {run.folder}: they differ in "
                f"{key}, allowed: a run of the same data."
            )
    return alone


def _find_local(run: RunRecord, runs: Sequence[RunRecord]) -> RunRecord | None:
    """Return, of the runs, the local-only one with the same clients as `run`, unless that is one itself."""
    if run.summary["algorithm"] == LOCAL:
        return None
    return next(
        (other for other in runs if other.summary["algorithm"] == LOCAL and not find_other_data(run, other)), None
    )
