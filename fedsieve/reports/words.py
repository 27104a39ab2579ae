"""Numbers and lists as people read them."""

import math
from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich.filesize import pick_unit_and_suffix

Item = TypeVar("Item")

ROWS = 60
"""Rows of a table in the page."""

NOTHING = "–"


def format_percent(value: float) -> str:
    """Return a number that is in percent already: "78.3 %"."""
    return NOTHING if math.isnan(value) else f"{value:.1f} %"


def format_share(share: float) -> str:
    """Return a share of 1 in percent: "78.3 %"."""
    return format_percent(100 * share)


def format_number(value: float) -> str:
    """Return a number with three figures that count: "0.0123", "4.56", "1,235"."""
    if math.isnan(value):
        return NOTHING
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 6)}f}"


def format_seconds(value: float) -> str:
    """Return a duration: "0.21 s", "3 min 20 s", "2 h 5 min"."""
    if value < 60:
        return f"{format_number(value)} s"
    whole = round(value)
    hours, minutes, left = whole // 3600, whole % 3600 // 60, whole % 60
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"


def pick_unit(size: float) -> tuple[int, str]:
    """Return the unit in which `size`, in bytes, is between 1 and 1,000, in bytes, and its name."""
    return pick_unit_and_suffix(int(size), ["bytes", "kB", "MB", "GB", "TB"], 1000)


def format_bytes(value: float) -> str:
    """Return a number of bytes: "412 bytes", "742 kB"."""
    unit, name = pick_unit(value)
    return f"{format_number(value / unit)} {name}"


def thin_out(items: Sequence[Item], most: int) -> list[Item]:
    """Return at most so many of the items, evenly apart, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(at * (len(items) - 1) / (most - 1))] for at in range(most)]


def thin_out_rows(rows: Iterable[Sequence[str]]) -> list[Sequence[str]]:
    """Return the rows that a table shows."""
    return thin_out(list(rows), ROWS)


def format_count(number: int, word: str) -> str:
    """Return "1 client", "3 clients"."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def format_ids(clients: Sequence[int], most: int = 12) -> str:
    """Return ids as a list that is cut where it gets long."""
    ids = ", ".join(map(str, clients[:most]))
    return ids if len(clients) <= most else f"{ids} and {len(clients) - most} more"
