"""Each client's accuracy at the end, and what it would have local_accuracies."""

import numpy as np

from fedsieve.errors import make_printable
from fedsieve.reports.figure import Drawn, Missing, Part, Table, Zone
from fedsieve.reports.theme import LIGHT, SERIES, make_figure, use_style
from fedsieve.reports.words import format_count, format_percent, thin_out, thin_out_rows
from fedsieve.runs.reading import RunRecord

SHOWN = 200
"""Clients that have a point."""

NAMED = 30
"""Clients up to which each is named on the axis."""

LONG = 20
"""Letters of a client's name on the axis."""

TITLE = "Accuracy of each client"


def draw_final_accuracies(run: RunRecord, local: RunRecord | None) -> Part:
    """Return the clients from the least accurate to the most, beside what each has in the run `local`, if given."""
    accuracies = {client: 100 * value for client, value in run.accuracies.items()}
    if not accuracies:
        return Missing(
            TITLE, "No client was tested." if run.rounds else "No round was finished, so no client was tested."
        )
    local_accuracies = {
        client: 100 * value for client, value in (local.accuracies if local else {}).items() if client in accuracies
    }
    order = sorted(accuracies, key=lambda client: (accuracies[client], client))
    shown = thin_out(order, SHOWN)
    x, y = np.arange(len(shown)), [accuracies[client] for client in shown]
    with use_style():
        figure = make_figure()
        axes = figure.subplots()
        size = 4.5 if len(shown) <= 2 * NAMED else 2.5
        if local_accuracies:
            pairs = [
                (at, local_accuracies[client], accuracies[client])
                for at, client in enumerate(shown)
                if client in local_accuracies
            ]
            places, before, after = zip(*pairs, strict=True)
            axes.vlines(places, before, after, color=LIGHT["client"], linewidth=1)
            axes.plot(places, before, "D", color=SERIES[1], markerfacecolor="none", label="local-only", markersize=size)
        axes.plot(x, y, "o", color=SERIES[0], label=make_printable(run.summary["algorithm"]), markersize=size)
        mean = float(np.mean(list(accuracies.values())))
        axes.axhline(mean, color=SERIES[0], linestyle=(0, (5, 2)), linewidth=1, label=f"mean, {format_percent(mean)}")
        axes.grid(visible=False, axis="x")
        if len(shown) <= NAMED:
            names = [run.name_of(client)[:LONG] for client in shown]
            axes.set_xticks(x, names, rotation=90 if len(shown) > 14 or max(map(len, names)) > 3 else 0)
        else:
            axes.set_xticks([])
        axes.set(xlabel="client, from the least accurate to the most", ylabel="test accuracy, %")
        axes.set_xlim(-0.7, len(shown) - 0.3)
        figure.legend(loc="outside upper left", ncols=3, borderaxespad=0.1, handletextpad=0.5, columnspacing=1.2)
    words = [_describe_client(run.name_of(client), client, accuracies, local_accuracies) for client in shown]
    zones = [Zone(at - 0.5, at + 0.5, text) for at, text in enumerate(words)]
    head = ["client", "test accuracy", *(["local-only", "difference, points"] if local_accuracies else [])]
    rows = thin_out_rows(
        [
            run.name_of(client),
            format_percent(accuracies[client]),
            *(
                [format_percent(local_accuracies[client]), f"{accuracies[client] - local_accuracies[client]:+.1f}"]
                if client in local_accuracies
                else ["–"] * 2 * bool(local_accuracies)
            ),
        ]
        for client in sorted(accuracies)
    )
    few = f" {len(shown):,} of {len(order):,} clients are shown." if len(shown) < len(order) else ""
    caption = f"At round {run.summary['best_round']}, the one with the best mean validation accuracy.{few} "
    caption += _describe_gains(accuracies, local_accuracies, local)
    return Drawn("clients", TITLE, caption, figure, zones=zones, table=Table(head, rows))


def _describe_client(name: str, client: int, accuracies: dict[int, float], local_accuracies: dict[int, float]) -> str:
    text = f"client {name}: {format_percent(accuracies[client])}"
    return f"{text}, local-only {format_percent(local_accuracies[client])}" if client in local_accuracies else text


def _describe_gains(accuracies: dict[int, float], local_accuracies: dict[int, float], local: RunRecord | None) -> str:
    if local is None:
        return "Against local-only training: no such run was given; “fedsieve report DIR --local DIR2” shows it here."
    gains = [accuracies[client] - accuracy for client, accuracy in local_accuracies.items()]
    if not gains:
        return f"The local-only run {local.folder} has no client in common with this one."
    better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    return (
        f"{better:,} of {format_count(len(gains), 'client')} do better and {worse:,} worse than in the local-only run "
        f"{local.folder}; the mean difference is {np.mean(gains):+.1f} points, at that run's best round."
    )
