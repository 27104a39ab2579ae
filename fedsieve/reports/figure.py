"""A figure of a report: drawn by matplotlib, written as SVG into the page and as PNG beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Zone:
    """What the pointer shows over a rectangle of the axes, in their own numbers; None: the axes' whole height."""

    left: float
    right: float
    text: str
    bottom: float | None = None
    top: float | None = None


@dataclass(frozen=True)
class Table:
    """Numbers as a table; `values` are those of the rows before they became words, where they are known."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    values: Sequence[Sequence[Any]] = ()
    title: str = ""


@dataclass(frozen=True)
class Drawn:
    """One figure.

    Attributes:
        name: of its PNG file, without the ending.
        title: what it shows, in a few words.
        caption: how to read it; plain text.
        figure: whose first axes `zones` are about.
        lines: what the pointer shows over the artists of these group ids.
        zones: in the order in which they lie under the pointer.
    """

    name: str
    title: str
    caption: str
    figure: "Figure"
    lines: dict[str, str] = field(default_factory=dict)
    zones: Sequence[Zone] = ()
    table: Table | None = None


@dataclass(frozen=True)
class Missing:
    """A figure that there is nothing for, and why, in one sentence."""

    title: str
    reason: str


Part = Drawn | Missing


@dataclass(frozen=True)
class Section:
    """A heading of the page and what is under it."""

    title: str
    parts: Sequence[Part]
