"""Figures by round: accuracy, loss, share of zeros, bytes and time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fedsieve.contract import NDArray
from fedsieve.reports.figure import Drawn, Missing, Part, Table, Zone
from fedsieve.reports.theme import LIGHT, MARKERS, SERIES, STYLES, make_figure, use_style
from fedsieve.reports.words import format_count, format_number, format_percent, pick_unit, thin_out, thin_out_rows
from fedsieve.runs.layout import TIMINGS
from fedsieve.runs.reading import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = 40
"""Clients that have a line of their own."""

LONG = 300
"""Rounds that a client's line, and half as many that the pointer, goes through."""

POINTS = 30
"""Rounds up to which each is marked."""

SO_FAR = (
    " Means are over the clients heard of so far; the test accuracy at the top of the page and the best round are over "
    "all clients, each with its first training until it has another."
)
"""How the means under partial participation differ from those of the summary."""

NO_ROUND = "No round was finished, so there is nothing to draw."


def draw_accuracy(run: RunRecord) -> Part:
    """Return test accuracy by round: mean, quartiles and clients; beside it validation, and the models as received."""
    return _draw_spread(
        run,
        "test_accuracy",
        name="accuracy",
        title="Accuracy by round",
        label="accuracy, %",
        quantity="test accuracy",
        beside=(
            ("validation", run.take_means("val_accuracy")),
            ("test, as received", run.take_means("test_accuracy_received")),
        ),
        mean=("test", run.take_means("test_accuracy")),
        caption="Each client's own model after its training. “As received” is the model that the server sent, before "
        f"the client has trained it.{SO_FAR if run.sampled < 1 else ''}",
        factor=100,
    )


def draw_loss(run: RunRecord) -> Part:
    """Return training loss by round."""
    return _draw_spread(
        run,
        "train_loss",
        name="loss",
        title="Training loss by round",
        label="training loss",
        quantity="training loss",
        mean=("mean", run.take_means("train_loss")),
        caption="What a client's training minimises, mean over the last epoch's batches.",
    )


def draw_zeros(run: RunRecord) -> Part:
    """Return the share of zeros in the clients' masks by round."""
    if np.isnan(run.by_client["mask_sparsity"]).all():
        reason = f"{run.summary['algorithm']} has no masks" if run.rounds else NO_ROUND.rstrip(".")
        return Missing("Zeros of the masks by round", f"{reason}.")
    standing = run.carry_forward("mask_sparsity")
    known = np.isfinite(standing).sum(axis=1)
    mean = np.divide(np.nansum(standing, axis=1), known, out=np.full(len(known), np.nan), where=known > 0)
    return _draw_spread(
        run,
        "mask_sparsity",
        name="zeros",
        title="Zeros of the masks by round",
        label="zeros, %",
        quantity="zeros",
        mean=("mean", mean),
        caption="Share of the masked weights that a client does without, as it tells the server.",
        factor=100,
    )


def draw_traffic(run: RunRecord) -> Part:
    """Return the bytes of each round, of all its clients together."""
    up, down = run.take_means("uplink_bytes"), run.take_means("downlink_bytes")
    title = "Bytes by round"
    if not run.rounds:
        return Missing(title, NO_ROUND)
    unit, name = pick_unit(max(np.nanmax(up), np.nanmax(down)))
    return _draw_lines(
        run,
        name="bytes",
        title=title,
        label=f"{name} in a round, all clients",
        lines=(("up, clients to server", up / unit), ("down, server to clients", down / unit)),
        caption="Serialised messages, as an engine counts them; on a network, framing and TLS come on top.",
        unit=f" {name}",
    )


def draw_time(run: RunRecord) -> Part:
    """Return the seconds of each round."""
    title = "Time by round"
    if np.isnan(run.times["seconds"]).all():
        return Missing(title, NO_ROUND if not run.rounds else f"{TIMINGS} does not say how long the rounds took.")
    lines = [("wall clock", run.times["seconds"])]
    if not np.isnan(run.times["cpu_seconds"]).all():
        lines.append(("CPU, all processes", run.times["cpu_seconds"]))
    return _draw_lines(
        run,
        name="time",
        title=title,
        label="seconds in a round",
        lines=lines,
        caption="CPU seconds are those of the server's machine, worker processes included; they count what is done "
        "between rounds too, such as checkpoints.",
        unit=" s",
    )


def _draw_spread(
    run: RunRecord,
    column: str,
    *,
    name: str,
    title: str,
    label: str,
    quantity: str,
    mean: tuple[str, NDArray],
    caption: str,
    beside: Sequence[tuple[str, NDArray]] = (),
    factor: float = 1,
) -> Part:
    if not run.rounds:
        return Missing(title, NO_ROUND)
    values = factor * run.carry_forward(column)
    known = [index for index in range(len(run.clients)) if not np.isnan(values[:, index]).all()]
    if not known:
        return Missing(title, f"No client has data to take the {quantity} on.")
    values, clients = values[:, known], [run.clients[index] for index in known]
    low, high = _take_quartiles(values)
    middle = factor * mean[1]
    shown = thin_out(np.argsort(-values[-1], kind="stable").tolist(), LINES)
    say = format_percent if factor == 100 else format_number
    drawn = thin_out(range(len(run.numbers)), LONG)
    lines: dict[str, str] = {}
    with use_style():
        axes = _make_axes(label)
        for index in sorted(shown):
            gid = f"client-{clients[index]}"
            line = values[:, index]
            since = int(np.argmax(~np.isnan(line)))
            lines[gid] = (
                f"client {clients[index]}: {quantity} {say(line[since])} in round {run.numbers[since]}, "
                f"{say(line[-1])} at the end"
            )
            axes.plot(
                run.numbers[drawn],
                line[drawn],
                color=LIGHT["client"],
                linewidth=0.8,
                gid=gid,
                **_choose_marker(run, 2.0),
            )
        if len(clients) > 1:
            words = "middle half of the clients"
            if len(run.numbers) > 1:
                axes.fill_between(run.numbers, low, high, color=SERIES[0], alpha=0.22, linewidth=0, label=words)
            else:
                axes.vlines(run.numbers, low, high, color=SERIES[0], alpha=0.3, linewidth=12, label=words)
        axes.plot(run.numbers, middle, color=SERIES[0], label=mean[0], **_choose_marker(run))
        for at, (word, other) in enumerate(beside, 1):
            if not np.isnan(other).all():
                axes.plot(
                    run.numbers,
                    factor * other,
                    color=SERIES[at],
                    linestyle=STYLES[at],
                    label=word,
                    marker=MARKERS[at] if len(run.numbers) <= POINTS else None,
                )
        _add_legend(axes)
        _set_limits(axes)
    zones = _make_zones(
        run,
        [
            f"{quantity} {say(m)} in the mean, middle half {say(a)} to {say(b)}"
            for m, a, b in zip(middle, low, high, strict=True)
        ],
    )
    head = ["round", f"mean {quantity}", "lower quartile", "upper quartile", *(f"mean {word}" for word, _ in beside)]
    rows = thin_out_rows(
        [str(number), *map(say, cells)]
        for number, *cells in zip(run.numbers, middle, low, high, *(factor * other for _, other in beside), strict=True)
    )
    of_all = f"{len(shown)} of " if len(shown) < len(clients) else ""
    count = format_count(len(clients), "client")
    spread = (
        " Strong lines are means over clients; the band holds the middle half of the clients."
        if len(clients) > 1
        else ""
    )
    return Drawn(
        name=name,
        title=title,
        caption=f"{caption}{spread} Thin lines: {of_all}{count}; point at one for its id.",
        figure=axes.figure,  # type: ignore[arg-type]
        lines=lines,
        zones=zones,
        table=Table(head, rows),
    )


def _draw_lines(
    run: RunRecord, *, name: str, title: str, label: str, lines: Sequence[tuple[str, NDArray]], caption: str, unit: str
) -> Drawn:
    with use_style():
        axes = _make_axes(label)
        for at, (word, values) in enumerate(lines):
            axes.plot(
                run.numbers,
                values,
                color=SERIES[at],
                linestyle=STYLES[at],
                label=word,
                marker=MARKERS[at] if len(run.numbers) <= POINTS else None,
            )
        axes.set_ylim(0, 1.1 * max(float(np.nanmax(values)) for _, values in lines) or 1)
        _add_legend(axes)
        _set_limits(axes)
    texts = [
        ", ".join(f"{word} {format_number(value)}{unit}" for (word, _), value in zip(lines, at, strict=True))
        for at in zip(*(values for _, values in lines), strict=True)
    ]
    rows = thin_out_rows(
        [str(number), *map(format_number, cells)]
        for number, *cells in zip(run.numbers, *(values for _, values in lines), strict=True)
    )
    table = Table(["round", *(f"{word},{unit}" for word, _ in lines)], rows)
    return Drawn(name, title, caption, axes.figure, zones=_make_zones(run, texts), table=table)  # type: ignore[arg-type]


def _make_zones(run: RunRecord, texts: Sequence[str]) -> list[Zone]:
    """Return the pointer's text for each round, or of a long run's every second, third and so on."""
    step = -(-2 * len(texts) // LONG)
    return [
        Zone(number - 0.5, number - 0.5 + step, f"round {number}: {text}")
        for number, text in list(zip(run.numbers.tolist(), texts, strict=True))[:: max(1, step)]
    ]


def _make_axes(label: str) -> "Axes":
    from matplotlib.ticker import MaxNLocator

    axes = make_figure().subplots()
    axes.set(xlabel="round", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.grid(visible=False, axis="x")
    return axes


def _set_limits(axes: "Axes") -> None:
    """Give a run of one round an axis around its point, and let others fill theirs."""
    low, high = axes.dataLim.intervalx
    axes.set_xlim((low - 1, high + 1) if low == high else (low - 0.02 * (high - low), high + 0.02 * (high - low)))


def _add_legend(axes: "Axes") -> None:
    axes.figure.legend(loc="outside upper left", ncols=2, columnspacing=1.4, borderaxespad=0.1)


def _choose_marker(run: RunRecord, size: float | None = None) -> dict[str, Any]:
    marks: dict[str, Any] = {"marker": MARKERS[0]} if len(run.numbers) <= (POINTS if size is None else 1) else {}
    return marks | ({} if size is None else {"markersize": size})


def _take_quartiles(values: NDArray) -> tuple[NDArray, NDArray]:
    """Return the lower and the upper quartile of each row, interpolated, over what is not NaN."""
    quartiles = np.full((2, len(values)), np.nan)
    for at, row in enumerate(values):
        if len(known := row[~np.isnan(row)]):
            quartiles[:, at] = np.percentile(known, (25, 75))
    return quartiles[0], quartiles[1]
