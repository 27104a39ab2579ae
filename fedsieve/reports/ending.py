"""The report of a run that ends: drawn by whoever has started it, from what is then in its folder."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fedsieve.errors import UserError, one_line
from fedsieve.reports.page import write_report
from fedsieve.runs.layout import RunLayout
from fedsieve.runs.reading import read_run

_log = logging.getLogger("fedsieve")


@contextmanager
def report_at_end(folder: Path) -> Iterator[None]:
    """Draw the report of the run that the block runs in `folder`, however it ends, once it has left a summary.

    A run that had ended before, and whose report is missing because whoever was to draw it was killed, gets it now.

    Raises:
        UserError: the run has finished, and the report cannot be written.
    """
    before = _stat_summary(folder)
    try:
        yield
    except BaseException:
        if _stat_summary(folder) != before:
            with suppress(UserError):  # the disk is full, say; it is the run's end that is to be told
                draw(folder)
        raise
    if (after := _stat_summary(folder)) and (after != before or not RunLayout(folder).report.exists()):
        draw(folder)


def draw(folder: Path) -> None:
    """Write the page; what is wrong with it does not make a failure of a run whose numbers are on disk.

    Raises:
        UserError: it cannot be written.
    """
    try:
        write_report(read_run(folder))
    except UserError:
        raise
    except Exception as error:
        _log.warning("report.html could not be made: %s; `fedsieve report %s` tries again", one_line(error), folder)


def _stat_summary(folder: Path) -> tuple[int, int] | None:
    """Return what tells one summary from the next; None where there is none."""
    try:
        status = RunLayout(folder).summary.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
