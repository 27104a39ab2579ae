"""Each client's accuracy at the end, and what it would have alone."""

import numpy as np

from fedsieve.errors import printable
from fedsieve.reports.figure import Drawn, Missing, Part, Table, Zone
from fedsieve.reports.theme import LIGHT, SERIES, blank, drawing
from fedsieve.reports.words import counted, percent, rows_of, thinned
from fedsieve.runs.reading import RunRecord

SHOWN = 200
"""Clients that have a point."""

NAMED = 30
"""Clients up to which each is named on the axis."""

TITLE = "Accuracy of each client"


def final(run: RunRecord, local: RunRecord | None) -> Part:
    """Return the clients from the least accurate to the most, beside what each has in the run `local`, if given."""
    own = {client: 100 * value for client, value in run.accuracies.items()}
    if not own:
        return Missing(
            TITLE, "No client was tested." if run.rounds else "No round was finished, so no client was tested."
        )
    alone = {client: 100 * value for client, value in (local.accuracies if local else {}).items() if client in own}
    order = sorted(own, key=lambda client: (own[client], client))
    shown = thinned(order, SHOWN)
    x, y = np.arange(len(shown)), [own[client] for client in shown]
    with drawing():
        figure = blank()
        axes = figure.subplots()
        size = 4.5 if len(shown) <= 2 * NAMED else 2.5
        if alone:
            pairs = [(at, alone[client], own[client]) for at, client in enumerate(shown) if client in alone]
            places, before, after = zip(*pairs, strict=True)
            axes.vlines(places, before, after, color=LIGHT["client"], linewidth=1)
            axes.plot(places, before, "D", color=SERIES[1], markerfacecolor="none", label="local-only", markersize=size)
        axes.plot(x, y, "o", color=SERIES[0], label=printable(run.summary["algorithm"]), markersize=size)
        mean = float(np.mean(list(own.values())))
        axes.axhline(mean, color=SERIES[0], linestyle=(0, (5, 2)), linewidth=1, label=f"mean, {percent(mean)}")
        axes.grid(visible=False, axis="x")
        if len(shown) <= NAMED:
            axes.set_xticks(x, [str(client) for client in shown], rotation=90 if len(shown) > 14 else 0)
        else:
            axes.set_xticks([])
        axes.set(xlabel="client, from the least accurate to the most", ylabel="test accuracy, %")
        axes.set_xlim(-0.7, len(shown) - 0.3)
        figure.legend(loc="outside upper left", ncols=3, borderaxespad=0.1, handletextpad=0.5, columnspacing=1.2)
    words = [_told(client, own, alone) for client in shown]
    zones = [Zone(at - 0.5, at + 0.5, told) for at, told in enumerate(words)]
    head = ["client", "test accuracy", *(["local-only", "difference, points"] if alone else [])]
    rows = rows_of(
        [
            str(client),
            percent(own[client]),
            *(
                [percent(alone[client]), f"{own[client] - alone[client]:+.1f}"]
                if client in alone
                else ["–"] * 2 * bool(alone)
            ),
        ]
        for client in sorted(own)
    )
    few = f" {len(shown):,} of {len(order):,} clients are shown." if len(shown) < len(order) else ""
    caption = f"At round {run.summary['best_round']}, the one with the best mean validation accuracy.{few} "
    caption += _against(own, alone, local)
    return Drawn("clients", TITLE, caption, figure, zones=zones, table=Table(head, rows))


def _told(client: int, own: dict[int, float], alone: dict[int, float]) -> str:
    told = f"client {client}: {percent(own[client])}"
    return f"{told}, local-only {percent(alone[client])}" if client in alone else told


def _against(own: dict[int, float], alone: dict[int, float], local: RunRecord | None) -> str:
    if local is None:
        return "Against local-only training: no such run was given; “fedsieve report DIR --local DIR2” shows it here."
    gains = [own[client] - accuracy for client, accuracy in alone.items()]
    if not gains:
        return f"The local-only run {local.folder} has no client in common with this one."
    better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    return (
        f"{better:,} of {counted(len(gains), 'client')} do better and {worse:,} worse than in the local-only run "
        f"{local.folder}; the mean difference is {np.mean(gains):+.1f} points, at that run's best round."
    )
