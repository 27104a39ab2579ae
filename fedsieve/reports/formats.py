"""A table as text that other programs and papers take: Markdown, CSV, LaTeX, JSON."""

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from enum import StrEnum

from fedsieve.reports.figure import Table


class Format(StrEnum):
    """How a table is printed; `text` is for a terminal."""

    TEXT = "text"
    MD = "md"
    CSV = "csv"
    LATEX = "latex"
    JSON = "json"


def format_tables(tables: Sequence[Table], wanted: Format) -> str:
    """Return tables one after the other; as JSON, one list of their rows, each an object.

    CSV and JSON have the numbers themselves where a table has them, the others what a reader sees.
    """
    if wanted is Format.JSON:
        rows = [row for table in tables for row in _make_objects(table)]
        return json.dumps(rows, indent=2, default=str, ensure_ascii=False)
    return "\n".join(_WRITERS[wanted](table) for table in tables).rstrip("\n")


def to_markdown(table: Table) -> str:
    """Return a table of GitHub's Markdown, its title above it."""
    title = f"**{table.title}**\n\n" if table.title else ""
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    return title + "".join(f"| {' | '.join(map(_escape_markdown, line))} |\n" for line in lines)


def to_csv(table: Table) -> str:
    """Return a table as CSV, its title in a first column if it has one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    titled = [table.title] if table.title else []
    writer.writerow([*(["table"] if titled else []), *table.head])
    writer.writerows([*titled, *row] for row in table.values or table.rows)
    return text.getvalue()


def to_latex(table: Table) -> str:
    """Return a `tabular` that needs no package, numbers to the right."""
    columns = "".join("r" if _is_of_numbers(table, at) else "l" for at in range(len(table.head)))
    head = " & ".join(map(_escape_latex, table.head))
    lines = [rf"% {table.title}"] if table.title else []
    lines += [rf"\begin{{tabular}}{{{columns}}}", r"\hline", rf"{head} \\", r"\hline"]
    lines += [rf"{' & '.join(map(_escape_latex, row))} \\" for row in table.rows]
    return "\n".join([*lines, r"\hline", r"\end{tabular}", ""])


_WRITERS: dict[Format, Callable[[Table], str]] = {
    Format.MD: to_markdown,
    Format.CSV: to_csv,
    Format.LATEX: to_latex,
}

_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
          "<": "$<$", ">": "$>$", "–": "--"} | {mark: f"\\{mark}" for mark in "&%$#_{}"}  # fmt: skip


def _make_objects(table: Table) -> list[dict[str, object]]:
    titled = {"table": table.title} if table.title else {}
    return [titled | dict(zip(table.head, row, strict=True)) for row in table.values or table.rows]


def _escape_markdown(cell: str) -> str:
    return " ".join(cell.split()).replace("|", r"\|")


def _escape_latex(cell: str) -> str:
    return "".join(_LATEX.get(mark, mark) for mark in " ".join(cell.split()))


def _is_of_numbers(table: Table, at: int) -> bool:
    cells = [row[at] for row in table.rows if row[at] not in {"", "-"}]
    return bool(cells) and all(re.match(r"[+-]?\d", cell) for cell in cells)
