"""One self-contained HTML page a run, and a PNG file of each of its figures."""

import json
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

from fedsieve.errors import UserError
from fedsieve.files import write_whole
from fedsieve.reports import curves
from fedsieve.reports.clients import final
from fedsieve.reports.figure import Drawn, Section, Table
from fedsieve.reports.head import state, tiles, told
from fedsieve.reports.html import filled
from fedsieve.reports.masks import masks
from fedsieve.reports.similarity import similarity
from fedsieve.reports.style import RUN_PAGE
from fedsieve.reports.svg import png
from fedsieve.runs.layout import RunLayout
from fedsieve.runs.reading import RunRecord


def write_report(run: RunRecord, local: RunRecord | None = None) -> Path:
    """Write `report.html` and `figures/` into the run's folder and return the page's path.

    Args:
        local: a local-only run, against which clients' accuracies are shown.

    Raises:
        UserError: they cannot be written.
    """
    layout, found = RunLayout(run.folder), sections(run, local)
    page = report_page(run, found)  # first: it is the page that lays the figures out
    write_page(layout.report, page, layout.figures, found, PNG_NAMES)
    return layout.report


def sections(run: RunRecord, local: RunRecord | None = None) -> list[Section]:
    """Return the run's figures, under their headings."""
    return [
        Section("Learning", [curves.accuracy(run), curves.loss(run), final(run, local)]),
        Section("Clients compared", [similarity(run), *masks(run)]),
        Section("Size and cost", [curves.zeros(run), curves.traffic(run), curves.time(run)]),
    ]


def report_page(run: RunRecord, found: Sequence[Section]) -> str:
    """Return the run's page."""
    summary = {key: value for key, value in run.summary.items() if key not in {"versions", "test_accuracy_per_client"}}
    return filled(
        RUN_PAGE,
        title=run.title,
        told=told(run),
        state=state(run),
        finished=run.ended in {"finished", ""},
        tiles=tiles(run),
        sections=found,
        settings=run.settings,
        versions=Table(["package", "version"], list((run.summary.get("versions") or {}).items())),
        summary=Table(["key", "value"], [[key, _told(value)] for key, value in summary.items()]),
    )


def write_page(path: Path, page: str, figures: Path, found: Sequence[Section], names: Set[str]) -> None:
    """Write a page, and each figure into the folder `figures`; of `names`, all that it may have, others are removed.

    Raises:
        UserError: they cannot be written.
    """
    drawn = {f"{part.name}.png": part for part in _drawn(found)}
    try:
        write_whole(path, page.encode())
        figures.mkdir(exist_ok=True)
        for name, part in drawn.items():
            write_whole(figures / name, png(part.figure))
        for gone in names - drawn.keys():
            (figures / gone).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path.parent}: the report cannot be written: {error.strerror}.") from error


PNG_NAMES = {
    f"{name}.png"
    for name in ("accuracy", "loss", "clients", "similarity", "zeros", "layers", "overlap", "bytes", "time")
}
"""Of all the PNG files that a run can have."""


def _drawn(found: Sequence[Section]) -> Iterator[Drawn]:
    return (part for section in found for part in section.parts if isinstance(part, Drawn))


def _told(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
