"""Who holds what by a column of the data themselves: a client for each of its values."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedsieve.errors import UserError

CLIENT = "client"
"""The column that says it under the partition given."""

NOBODY = -1


@dataclass(frozen=True)
class Holders:
    """Which client holds each example, by number, `NOBODY` for none; and what the clients are called, in order."""

    of: np.ndarray[Any, np.dtype[np.int64]]
    names: tuple[str, ...]


def find_holders(source: str, column: str, values: Sequence[Any], count: int) -> Holders:
    """Return who holds each of `count` examples: a client for each different value, in natural order.

    An example with the value -1, an empty word, NaN or None has no holder.

    Raises `UserError` unless the column has a whole number or a word for each example.
    """
    if len(values) != count:
        raise UserError(f"{source}: {column} has {len(values):,} values; allowed: {count:,}, one for each example.")
    words = [_name(source, column, value) for value in values]
    names = tuple(sorted({word for word in words if word}, key=natural_order))
    if not names:
        raise UserError(f"{source}: {column} names no client; allowed: a whole number or a word for each example.")
    number = {name: index for index, name in enumerate(names)} | {"": NOBODY}
    return Holders(np.array([number[word] for word in words], dtype=np.int64), names)


def natural_order(name: str) -> tuple[list[tuple[bool, int, str]], str]:
    """Return what sorts names as people do, `site-2` before `site-10`."""
    parts = [part for part in re.split(r"(\d+)", name) if part]
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part.casefold()) for part in parts], name


def _name(source: str, column: str, value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if value is None or value == NOBODY or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return str(int(value))
    if not isinstance(value, str | int):
        raise UserError(
            f"{source}: {column} holds {value!r}; allowed: a whole number or a word for each example, its client."
        )
    return str(value)
