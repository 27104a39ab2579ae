"""Settings side by side: test accuracy over rounds, over bytes and over seconds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedsieve.contract import NDArray
from fedsieve.reports.figure import Drawn, Missing, Part, Table
from fedsieve.reports.settings import Setting, make_labels
from fedsieve.reports.theme import MARKERS, SERIES, STYLES, make_figure, use_style
from fedsieve.reports.words import format_number, format_percent, pick_unit, thin_out_rows
from fedsieve.runs.layout import TIMINGS
from fedsieve.runs.reading import RunRecord

MOST = len(SERIES)
"""Settings that have a line."""

SO_FAR = (
    " Where a round takes some of the clients, a line is over those heard of so far; the table at the top of the page "
    "and its best rounds are over all clients."
)

FAR = 20
"""Times that one setting may end farther along the axis than another before it is logarithmic."""

LONG = 52
"""Letters of a setting's name in a legend; its middle goes, because names differ at their ends."""


@dataclass(frozen=True, eq=False)
class _Course:
    """One setting: its mean and deviation over seeds, R each, up to the last round that all of its runs have."""

    label: str
    runs: list[RunRecord]
    numbers: NDArray
    mean: NDArray
    deviation: NDArray

    def take_axis(self, of_run: Callable[[RunRecord], NDArray]) -> NDArray:
        """Return where the rounds lie on another axis, mean over the runs."""
        return np.asarray(np.mean([of_run(run)[: len(self.numbers)] for run in self.runs], axis=0))


def draw_courses(settings: Sequence[Setting]) -> list[Part]:
    """Return the three figures, one line a setting."""
    titles = ("Accuracy over rounds", "Accuracy over bytes", "Accuracy over seconds")
    drawable = [
        course
        for label, setting in zip(make_labels(settings), settings, strict=True)
        if (course := _make_course(label, setting.runs)) is not None
    ]
    if not drawable:
        return [Missing(title, "No run has finished a round.") for title in titles]
    unit, name = pick_unit(max(float(course.take_axis(_sum_bytes)[-1]) for course in drawable))
    return [
        _draw("over-rounds", titles[0], "round", drawable, _count_rounds, ""),
        _draw(
            "over-bytes",
            titles[1],
            f"{name} sent up and down since the start, all clients",
            drawable,
            lambda run: _sum_bytes(run) / unit,
            "Serialised messages of all clients together. ",
        ),
        _draw_over_seconds(titles[2], drawable),
    ]


def _draw_over_seconds(title: str, drawable: list[_Course]) -> Part:
    timed = [c for c in drawable if not any(np.isnan(run.times["seconds"]).all() for run in c.runs)]
    if not timed:
        return Missing(title, f"No setting has a {TIMINGS} in all of its runs.")
    untimed = ", ".join(course.label for course in drawable if course not in timed)
    caption = "Wall clock: comparable only between runs of one machine and engine. "
    caption += f"Without times, and so without a line: {untimed}. " if untimed else ""
    label = "seconds of the rounds since the start"
    return _draw("over-seconds", title, label, timed, lambda run: np.nancumsum(run.times["seconds"]), caption)


def _make_course(label: str, runs: list[RunRecord]) -> _Course | None:
    rounds = min(len(run.rounds) for run in runs)
    if not rounds:
        return None
    values = 100 * np.stack([run.take_means("test_accuracy")[:rounds] for run in runs])
    deviation = values.std(axis=0, ddof=1) if len(runs) > 1 else np.zeros(rounds)
    return _Course(label, runs, runs[0].numbers[:rounds], values.mean(axis=0), deviation)


def _count_rounds(run: RunRecord) -> NDArray:
    return run.numbers


def _sum_bytes(run: RunRecord) -> NDArray:
    return np.nancumsum(run.take_means("uplink_bytes") + run.take_means("downlink_bytes"))


def _draw(
    name: str, title: str, label: str, drawable: list[_Course], of_run: Callable[[RunRecord], NDArray], preface: str
) -> Drawn:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    lines: dict[str, str] = {}
    shown = drawable[:MOST]
    with use_style():
        figure = make_figure(3.3 + 0.13 * len(shown))
        axes = figure.subplots()
        for at, course in enumerate(shown):
            x, gid = course.take_axis(of_run), f"setting-{at}"
            style: dict[str, Any] = {"color": SERIES[at], "linestyle": STYLES[at], "gid": gid}
            style |= {"marker": MARKERS[at], "markevery": max(1, len(x) // 8)}
            axes.plot(x, course.mean, label=_shorten(course.label), **style)
            if len(course.runs) > 1:
                low, high = course.mean - course.deviation, course.mean + course.deviation
                axes.fill_between(x, low, high, color=SERIES[at], alpha=0.18, linewidth=0)
            reached, end = format_percent(float(course.mean[-1])), format_number(float(x[-1]))
            lines[gid] = f"{course.label}: {reached} after {end} ({label})"
        axes.set(xlabel=label, ylabel="test accuracy, %")
        axes.grid(visible=False, axis="x")
        ends = [float(course.take_axis(of_run)[-1]) for course in shown]
        if min(ends) > 0 and max(ends) > FAR * min(ends):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        elif of_run is _count_rounds:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        figure.legend(
            loc="outside upper left", ncols=1 if max(len(c.label) for c in shown) > 20 else 2, borderaxespad=0.1
        )
    few = f" Only the first {len(shown)} of {len(drawable)} settings have a line." if len(shown) < len(drawable) else ""
    several = any(len(course.runs) > 1 for course in shown)
    band = " Bands: one standard deviation over seeds to either side." if several else ""
    uneven = any(len(run.rounds) != len(course.numbers) for course in shown for run in course.runs)
    cut = " A line ends where the first of its runs did." if uneven else ""
    partly = any(run.sampled < 1 for course in shown for run in course.runs)
    so_far = SO_FAR if partly else ""
    rows = thin_out_rows(
        [course.label, str(number), format_number(float(x)), format_percent(float(mean))]
        for course in drawable
        for number, x, mean in zip(course.numbers, course.take_axis(of_run), course.mean, strict=True)
    )
    caption = f"{preface}Mean over clients of each client's own model, mean over the runs.{so_far}{band}{cut}{few}"
    table = Table(["setting", "round", label, "test accuracy"], rows)
    return Drawn(name, title, caption, figure, lines=lines, table=table)


def _shorten(label: str) -> str:
    return label if len(label) <= LONG else f"{label[: LONG // 3]}…{label[LONG // 3 + 1 - LONG :]}"
