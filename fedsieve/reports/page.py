"""One self-contained HTML page a run, and a PNG file of each of its figures."""

import json
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

from fedsieve.errors import UserError
from fedsieve.files import write_whole
from fedsieve.reports import curves
from fedsieve.reports.clients import draw_final_accuracies
from fedsieve.reports.figure import Drawn, Section, Table
from fedsieve.reports.head import describe_end, describe_run, make_tiles
from fedsieve.reports.html import fill_template
from fedsieve.reports.labels import draw_label_counts
from fedsieve.reports.masks import draw_masks
from fedsieve.reports.similarity import draw_similarity
from fedsieve.reports.svg import render_png
from fedsieve.runs.layout import CONFIG, SUMMARY, RunLayout
from fedsieve.runs.reading import RunRecord


def write_report(run: RunRecord, local: RunRecord | None = None) -> Path:
    """Write `report.html` and `figures/` into the run's folder and return the page's path.

    Args:
        local: a local-only run, against which clients' accuracies are shown.

    Raises:
        UserError: they cannot be written.
    """
    layout, sections = RunLayout(run.folder), draw_sections(run, local)
    page = render_page(run, sections)  # first: it is the page that lays the figures out
    write_page(layout.report, page, layout.figures, sections, PNG_NAMES)
    return layout.report


def draw_sections(run: RunRecord, local: RunRecord | None = None) -> list[Section]:
    """Return the run's figures, under their headings."""
    return [
        Section("Learning", [curves.draw_accuracy(run), curves.draw_loss(run), draw_final_accuracies(run, local)]),
        Section("Clients compared", [draw_label_counts(run), draw_similarity(run), *draw_masks(run)]),
        Section("Size and cost", [curves.draw_zeros(run), curves.draw_traffic(run), curves.draw_time(run)]),
    ]


def render_page(run: RunRecord, sections: Sequence[Section]) -> str:
    """Return the run's page."""
    long = {"versions", "test_accuracy_per_client", "label_counts", "client_names"}
    summary = {key: value for key, value in run.summary.items() if key not in long}
    return fill_template(
        "run.html",
        title=run.title,
        description=describe_run(run),
        state=describe_end(run),
        finished=run.ended in {"finished", ""},
        tiles=make_tiles(run),
        sections=sections,
        settings=run.settings,
        config_file=CONFIG,
        summary_file=SUMMARY,
        versions=Table(["package", "version"], list((run.summary.get("versions") or {}).items())),
        summary=Table(["key", "value"], [[key, _format_value(value)] for key, value in summary.items()]),
    )


def write_page(path: Path, page: str, figures: Path, sections: Sequence[Section], names: Set[str]) -> None:
    """Write a page, and each figure into the folder `figures`; of `names`, all that it may have, others are removed.

    Raises:
        UserError: they cannot be written.
    """
    drawn = {f"{part.name}.png": part for part in _list_drawn(sections)}
    try:
        write_whole(path, page.encode())
        figures.mkdir(exist_ok=True)
        for name, part in drawn.items():
            write_whole(figures / name, render_png(part.figure))
        for gone in names - drawn.keys():
            (figures / gone).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path.parent}: the report cannot be written: {error.strerror}.") from error


PNG_NAMES = {
    f"{name}.png"
    for name in ("accuracy", "loss", "clients", "labels", "similarity", "zeros", "layers", "overlap", "bytes", "time")
}
"""Of all the PNG files that a run can have."""


def _list_drawn(sections: Sequence[Section]) -> Iterator[Drawn]:
    return (part for section in sections for part in section.parts if isinstance(part, Drawn))


def _format_value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
