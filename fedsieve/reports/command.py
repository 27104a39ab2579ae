"""`fedsieve report`: tables on the terminal, a page for each run, and one that compares them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from fedsieve.errors import UserError
from fedsieve.reports.compare import comparison
from fedsieve.reports.comparison import PAGE, check_ours, paired_rows, paired_told, write_comparison
from fedsieve.reports.page import write_report
from fedsieve.reports.paired import other_data
from fedsieve.reports.settings import Setting, settings_of, stopped
from fedsieve.runs.layout import RunLayout
from fedsieve.runs.reading import RunRecord, read_run

if TYPE_CHECKING:
    from rich.console import Console

LOCAL = "local"
"""The algorithm that federates nothing."""


def report(
    folders: Sequence[Path], local: Path | None, out: Path | None, show: Callable[[str], None], console: "Console"
) -> None:
    """Write the pages and tell where they are.

    Args:
        folders: of runs; each gets its page anew.
        local: a local-only run, against which each is shown; if left out, that of `folders` with the same clients.
        out: the page that compares several runs.

    Raises:
        UserError: a folder is not that of a run, or a page cannot be written.
    """
    folders = _once(folders, show)
    if out is not None and len(folders) < 2:
        raise UserError("--out: names the page that compares runs, got one run, allowed: two or more.")
    path = out or PAGE
    if len(folders) > 1:
        check_ours(path)
    runs = [read_run(folder) for folder in folders]
    alone = None if local is None else _alone(local, runs)
    settings = settings_of(runs)
    console.print(comparison(settings))
    for sentence in stopped(settings):
        show(sentence)
    if len(settings) > 1:
        _show_pairs(settings, show, console)
    for run in runs:
        page = write_report(run, alone or _local_of(run, runs))
        show(f"{page}, and PNG files of its figures in {RunLayout(run.folder).figures}")
    if len(runs) > 1:
        figures = write_comparison(path, settings)
        show(f"{path}, which compares them, and PNG files of its figures in {figures}")


def _once(folders: Sequence[Path], show: Callable[[str], None]) -> list[Path]:
    """Return the folders without those that were given before, which is told: a run counted twice is no two seeds."""
    found: dict[Path, Path] = {}
    for folder in folders:
        if folder.resolve() in found:
            show(f"{folder} is given more than once, and counts once.")
        found.setdefault(folder.resolve(), folder)
    return list(found.values())


def _show_pairs(settings: Sequence[Setting], show: Callable[[str], None], console: "Console") -> None:
    found = paired_rows(settings)
    if found.rows:
        table = Table(title=Text("Paired differences", style="bold"), box=box.SIMPLE_HEAD)
        for column in found.head:
            table.add_column(column)
        for row in found.rows:
            table.add_row(*map(Text, row))
        console.print(table)
    for sentence in paired_told(settings):
        show(sentence)


def _alone(local: Path, runs: Sequence[RunRecord]) -> RunRecord:
    found = read_run(local)
    if found.summary["algorithm"] != LOCAL:
        raise UserError(f"--local: {local} is a run of {found.summary['algorithm']}, allowed: one of {LOCAL}.")
    for run in runs:
        if key := other_data(run, found):
            raise UserError(
                f"--local: the clients of {local} do not hold the same data as those of {run.folder}: they differ in "
                f"{key}, allowed: a run of the same data."
            )
    return found


def _local_of(run: RunRecord, runs: Sequence[RunRecord]) -> RunRecord | None:
    """Return, of the runs, the local-only one with the same clients as `run`, unless that is one itself."""
    if run.summary["algorithm"] == LOCAL:
        return None
    return next((other for other in runs if other.summary["algorithm"] == LOCAL and not other_data(run, other)), None)
