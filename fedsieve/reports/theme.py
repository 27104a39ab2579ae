"""What figures look like: drawn once in the light colours, of which the page makes CSS variables, so that dark is CSS.

Lines differ in dash and marker too, and are named: no difference is in colour alone. The lines' colours are of Okabe
and Ito's kind, which the colour-blind can distinguish, darkened until they stand out from white by at least 4.5 to 1.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIGHT = {
    "paper": "#ffffff",
    "text": "#1c1d21",
    "muted": "#595b66",
    "axis": "#80838f",
    "grid": "#e4e5ea",
    "client": "#a3a7b3",
    "series-1": "#0063a3",
    "series-2": "#b04600",
    "series-3": "#00745a",
    "series-4": "#983b88",
    "series-5": "#6f5a00",
    "series-6": "#44464e",
}

DARK = {
    "paper": "#17191e",
    "text": "#eceef2",
    "muted": "#a9adb8",
    "axis": "#7d818d",
    "grid": "#31343c",
    "client": "#666b78",
    "series-1": "#62b6f2",
    "series-2": "#ff9f63",
    "series-3": "#45cfa4",
    "series-4": "#e793d3",
    "series-5": "#dcc04f",
    "series-6": "#c3c6cf",
}

VARIABLES = {colour: f"var(--{name})" for name, colour in LIGHT.items() if name != "paper"}
"""The CSS variable of each light colour; a figure has no paper in the page, so white there is the white of a shade."""

STYLES = ("-", (0, (5, 1.8)), (0, (1.2, 1.4)), (0, (7, 1.5, 1.2, 1.5)), (0, (3, 1.2)), (0, (9, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P")
SERIES = tuple(LIGHT[f"series-{n}"] for n in range(1, 7))

SHADES = "cividis"
"""Perceptually uniform, readable by the colour-blind and in grey."""

WIDTH, HEIGHT = 5.0, 3.3
"""Inches; 360 points, which a phone shows in about as many pixels, so that 9 points stay readable."""

DPI = 200
"""Of the PNG files."""


@contextmanager
def use_style() -> Iterator[None]:
    """Have matplotlib's settings for a figure as long as the block runs."""
    import matplotlib as mpl

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "fedsieve",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
        "font.size": 9.5,
        "axes.labelsize": 9.5,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.fontsize": 9,
        "text.color": LIGHT["text"],
        "axes.labelcolor": LIGHT["text"],
        "xtick.labelcolor": LIGHT["muted"],
        "ytick.labelcolor": LIGHT["muted"],
        "xtick.color": LIGHT["axis"],
        "ytick.color": LIGHT["axis"],
        "axes.edgecolor": LIGHT["axis"],
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": LIGHT["grid"],
        "grid.linewidth": 0.8,
        "legend.frameon": False,
        "legend.handlelength": 2.6,
        "lines.linewidth": 1.8,
        "lines.markersize": 4.5,
        "figure.facecolor": LIGHT["paper"],
        "savefig.facecolor": "auto",
        "path.simplify": True,
        "text.parse_math": False,  # names are text, whatever dollars they hold
    }
    with mpl.rc_context(settings):
        yield


def make_figure(height: float = HEIGHT) -> "Figure":
    """Return a figure as wide as all are; `height` in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), dpi=72, layout="constrained")


def pick_ink(shade: tuple[float, ...]) -> str:
    """Return black or white, whichever stands out more from a cell of this shade: by at least 4.5 to 1."""
    luminance = _measure_luminance(shade)
    return "#000000" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#ffffff"


def measure_contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Return the contrast, 1 to 21, of two colours, red, green and blue from 0 to 1 (WCAG 2.2)."""
    darker, lighter = sorted((_measure_luminance(one), _measure_luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _measure_luminance(colour: tuple[float, ...]) -> float:
    red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in colour[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
