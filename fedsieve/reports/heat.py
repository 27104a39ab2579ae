"""Heat maps: shades that are readable in grey, a colour bar, numbers where there is room, and words for the pointer."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fedsieve.contract import NDArray
from fedsieve.reports.figure import Zone
from fedsieve.reports.theme import HEIGHT, SHADES, make_figure, pick_ink, use_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUMBERED = 10
"""Columns up to which cells hold their numbers."""

POINTED = 24
"""Rows and columns up to which the pointer shows a cell's number."""

NAMED = 24
"""Rows or columns up to which each is named on its axis."""


def draw_heat_map(
    values: NDArray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    axis_labels: tuple[str, str],
    bar: str,
    describe: Callable[[int, int], str],
    format_value: Callable[[float], str],
    bounds: tuple[float, float] | None = None,
    blocks: Sequence[int] = (),
    square: bool = False,
) -> tuple["Figure", list[Zone]]:
    """Draw `values`, rows x columns, and return the figure with its words for the pointer.

    Args:
        axis_labels: what is across and what is down.
        bar: what the shades are.
        describe: what the pointer shows over a row and column.
        format_value: what a number is as text.
        bounds: of the shades; of what there is if left out.
        blocks: sizes of the communities along the diagonal, which get a frame.
    """
    from matplotlib.patches import Rectangle

    low, high = bounds or (float(np.nanmin(values)), float(np.nanmax(values)))
    if low == high:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    extend = "max" if np.nanmax(values) > high else "neither"
    with use_style():
        figure = make_figure(4.2 if square else max(1.9, min(HEIGHT + 1, 1.4 + 0.26 * len(rows))))
        axes = figure.subplots()
        image = axes.imshow(
            values, SHADES, vmin=low, vmax=high, aspect="equal" if square else "auto", interpolation="nearest"
        )
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        _set_names(axes.set_xticks, columns, turned=len(columns) > 12 or max(map(len, columns)) > 3)
        _set_names(axes.set_yticks, rows)
        axes.set(xlabel=axis_labels[0], ylabel=axis_labels[1])
        shades = figure.colorbar(image, ax=axes, label=bar, pad=0.02, fraction=0.06, aspect=24, extend=extend)
        shades.outline.set_visible(False)
        shades.ax.tick_params(length=2)
        if len(columns) <= NUMBERED and len(rows) <= NAMED:
            for row, column in np.ndindex(values.shape):
                value = float(values[row, column])
                if not np.isnan(value):
                    colour = pick_ink(tuple(image.to_rgba(np.asarray(value))))
                    axes.text(column, row, format_value(value), ha="center", va="center", color=colour, fontsize=9)
        start = 0
        for size in blocks:
            for colour, width in (("#000000", 3.2), ("#ffffff", 1.4)):  # stands out from any shade
                axes.add_patch(
                    Rectangle(
                        (start - 0.5, start - 0.5),
                        size,
                        size,
                        fill=False,
                        edgecolor=colour,
                        linewidth=width,
                        clip_on=False,
                    )
                )
            start += size
    small = len(rows) <= POINTED and len(columns) <= POINTED
    zones = [
        Zone(column - 0.5, column + 0.5, describe(row, column), row - 0.5, row + 0.5)
        for row, column in (np.ndindex(values.shape) if small else ())
    ]
    return figure, zones


def _set_names(put: Callable[..., object], names: Sequence[str], *, turned: bool = False) -> None:
    if len(names) <= NAMED:
        put(range(len(names)), names, **({"rotation": 90} if turned else {}))
    else:
        put([])
