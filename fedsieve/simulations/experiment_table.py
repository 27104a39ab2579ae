"""The table of an experiment, from the folders of its runs."""

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import fmean, stdev

import rich.table
from rich import box
from rich.text import Text

from fedsieve.errors import UserError
from fedsieve.files import write_whole
from fedsieve.reports.figure import Table
from fedsieve.reports.formats import Format, format_tables, to_csv, to_markdown
from fedsieve.reports.quantities import FIGURES, Results
from fedsieve.simulations.combinations import Point, matches
from fedsieve.simulations.experiment import LABEL, Column, Layout

RUN_HEADING = "run"
CHOSEN = "chosen"
MISSING = "missing"


@dataclass(frozen=True)
class Cell:
    """A figure of the runs that have ended, of all that a cell stands for."""

    column: Column
    values: list[float | None]
    expected: int

    def __str__(self) -> str:
        """Return what the table shows; where runs are missing or have no such figure, how many have it."""
        if not self.values:
            return MISSING
        ratio = 3 if self.column.over else 1 if self.column.under else None
        shown = FIGURES[self.column.metric].format(self.values, ratio)
        reached = sum(value is not None for value in self.values)
        whole = len(self.values) == self.expected and (reached == self.expected or shown == "-")
        return shown if whole else f"{shown} [{reached} of {self.expected}]"


@dataclass(frozen=True)
class Row:
    """What the row is of, its cells, and whether it is the one that was chosen."""

    keys: tuple[str, ...]
    cells: list[Cell]
    chosen: bool


@dataclass(frozen=True)
class Part:
    """One of the tables into which the keys of `split` divide the runs."""

    title: str
    rows: list[Row]


class ExperimentTable:
    """What the runs that have ended show.

    Args:
        layout: rows and columns.
        points: all runs of the experiment.
        finished: the folders of those that have ended, by name.
    """

    def __init__(self, layout: Layout, points: Sequence[Point], finished: Mapping[str, Path]) -> None:
        self._layout = layout
        self._results = {name: Results(folder) for name, folder in finished.items()}
        self._by_place = {_locate(point.label, point): point for point in points}
        self._headings = [RUN_HEADING if key == LABEL else key for key in layout.rows]
        self.parts = [self._make_part(key, group) for key, group in _group(points, layout.split)]

    @property
    def header(self) -> list[str]:
        """The headings of all columns."""
        chosen = [CHOSEN] if self._layout.choose else []
        return [*self._headings, *map(_format_heading, self._layout.columns), *chosen]

    def tables(self) -> list[Table]:
        """Return each part as it is shown."""
        return [
            Table(self.header, [self._format_row(row) for row in part.rows], title=part.title) for part in self.parts
        ]

    def figures(self) -> Table:
        """Return a row a cell: its keys, column, mean, deviation and number of runs; None where there is none."""
        head = ["table", *self._headings, "column", "mean", "deviation", "runs", "missing"]
        values: list[list[object]] = []
        for part in self.parts:
            for keys, cell in [(row.keys, cell) for row in part.rows for cell in row.cells]:
                reached = [value for value in cell.values if value is not None]
                mean, deviation = fmean(reached) if reached else None, stdev(reached) if len(reached) > 1 else None
                missing = cell.expected - len(cell.values)
                values.append([part.title, *keys, _format_heading(cell.column), mean, deviation, len(reached), missing])
        return Table(head, [["" if value is None else str(value) for value in row] for row in values], values)

    def rich(self) -> Iterator[rich.table.Table]:
        """Yield each part for the terminal."""
        for part in self.tables():
            table = rich.table.Table(title=Text(part.title, style="bold") if part.title else None, box=box.SIMPLE_HEAD)
            for index, heading in enumerate(part.head):
                table.add_column(Text(heading), justify="left" if index < len(self._headings) else "right")
            for row in part.rows:
                table.add_row(*map(Text, row))
            yield table

    def format(self, wanted: Format) -> str:
        """Return all parts; as CSV and JSON, their figures."""
        return format_tables([self.figures()] if wanted in {Format.CSV, Format.JSON} else self.tables(), wanted)

    def markdown(self) -> str:
        """Return all parts as tables of GitHub's Markdown."""
        return "\n".join(map(to_markdown, self.tables()))

    def csv(self) -> str:
        """Return a line a cell: its keys, column, mean, deviation and number of runs."""
        return to_csv(self.figures())

    def _format_row(self, row: Row) -> list[str]:
        chosen = ["yes" if row.chosen else ""] if self._layout.choose else []
        return [*row.keys, *map(str, row.cells), *chosen]

    def _make_part(self, key: tuple[str, ...], points: Sequence[Point]) -> Part:
        rows = _group(points, self._layout.rows)
        chosen = self._find_chosen(rows)
        columns = self._layout.columns
        made = [Row(key, [self._make_cell(group, column) for column in columns], key in chosen) for key, group in rows]
        title = ", ".join(key)
        targets = [self._find_target(point) for point in points]
        known = [target for target in targets if target is not None]
        if known:
            title += f"; target: {100 * fmean(known):.1f} % validation accuracy"
        return Part(title.removeprefix("; "), made)

    def _make_cell(self, points: Sequence[Point], column: Column) -> Cell:
        asked = [point for point in points if matches(point, column.where)]
        values = [self._compute_value(point, column) for point in asked if self._has(point, column)]
        return Cell(column, values, len(asked))

    def _has(self, point: Point, column: Column) -> bool:
        other = self._find_reference(column.over or column.under, point)
        return point.name in self._results and (other is None or other.name in self._results)

    def _compute_value(self, point: Point, column: Column) -> float | None:
        figure = FIGURES[column.metric]
        value = figure.of(self._results[point.name], self._find_target(point))
        if not (column.over or column.under):
            return value
        other = self._find_reference(column.over or column.under, point)
        beside = None if other is None else figure.of(self._results[other.name], self._find_target(other))
        above, below = (value, beside) if column.over else (beside, value)
        return above / below if above is not None and below else None

    def _find_target(self, point: Point) -> float | None:
        if self._layout.target is None:
            return None
        other = self._find_reference(self._layout.target.label, point)
        if other is None or other.name not in self._results:
            return None
        accuracy = self._results[other.name].val_accuracy
        return None if accuracy is None else self._layout.target.share * accuracy

    def _find_reference(self, label: str, point: Point) -> Point | None:
        """Return the run of this label in the setting of another one."""
        return self._by_place.get(_locate(label, point))

    def _find_chosen(self, rows: list[tuple[tuple[str, ...], list[Point]]]) -> set[tuple[str, ...]]:
        """Return the rows with the best mean validation accuracy; none for a choice of which a run is missing."""
        if not self._layout.choose:
            return set()
        at = self._layout.rows.index(self._layout.choose)
        choices: dict[tuple[str, ...], list[tuple[tuple[str, ...], Cell]]] = {}
        for key, points in rows:
            cell = self._make_cell(points, Column(metric="val_accuracy"))
            choices.setdefault(key[:at] + key[at + 1 :], []).append((key, cell))
        best = set()
        for choice in choices.values():
            if all(len(cell.values) == cell.expected and None not in cell.values for _, cell in choice):
                best.add(max(choice, key=lambda one: fmean(value for value in one[1].values if value is not None))[0])
        return best


def check_tables(out: Path) -> None:
    """Raise a `UserError` for a `table.md` or `table.csv` in `out` that is not a sweep's; nothing is written."""
    for path, sign in ((out / "table.md", b"`fedsieve sweep "), (out / "table.csv", b"table,")):
        if path.exists() and not (path.is_file() and sign in path.read_bytes()[:1000]):
            raise UserError(f"{path}: is not a table of fedsieve sweep; move it, or choose another --out.")


def write_table(
    table: ExperimentTable, out: Path, title: str, command: str, seeds: Sequence[int], finished: Mapping[str, Path]
) -> list[Path]:
    """Write `table.md`, with what a reader must know beside the table, and `table.csv`; return their paths.

    Raises:
        UserError: the folder cannot be written.
    """
    facts = [f"`{command}`, {date.today()}; seeds {', '.join(map(str, seeds))}; {platform.machine()}, "
            f"{os.cpu_count()} cores; {_list_versions(finished)}"]  # fmt: skip
    text = "\n\n".join([f"# {title}"] * bool(title) + facts) + "\n\n" + table.markdown()
    paths = [out / "table.md", out / "table.csv"]
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path, content in zip(paths, (text, table.csv()), strict=True):
            write_whole(path, content.encode())
    except OSError as error:
        raise UserError(f"out: {out} cannot be written: {error.strerror}.") from error
    return paths


def _list_versions(finished: Mapping[str, Path]) -> str:
    """Return the versions that the runs were made with, each time they differ."""
    distinct = {json.dumps(Results(folder).summary["versions"]): None for folder in finished.values()}
    texts = [", ".join(f"{package} {version}" for package, version in json.loads(one).items()) for one in distinct]
    return " or, other runs, ".join(texts) or "no run has ended"


def _locate(label: str, point: Point) -> tuple[object, ...]:
    return (label, *point.setting.items())


def _group(points: Sequence[Point], keys: Sequence[str]) -> list[tuple[tuple[str, ...], list[Point]]]:
    groups: dict[tuple[str, ...], list[Point]] = {}
    for point in points:
        values = (point.value(key) for key in keys)
        groups.setdefault(tuple("-" if value is None else str(value) for value in values), []).append(point)
    return list(groups.items())


def _format_heading(column: Column) -> str:
    heading = column.heading or FIGURES[column.metric].heading
    if column.heading or not (column.over or column.under):
        return heading
    return f"{heading}: this / {column.over}" if column.over else f"{heading}: {column.under} / this"
