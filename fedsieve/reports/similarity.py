"""The server's similarity matrix, ordered, with the communities that it shows."""

import numpy as np

from fedsieve.reports.communities import Grouping, grouped
from fedsieve.reports.figure import Drawn, Missing, Part, Table
from fedsieve.reports.heat import POINTED, heat_map
from fedsieve.reports.words import counted, listed, thinned
from fedsieve.runs.reading import RunRecord

TITLE = "Similarity of the clients' models"

SHOWN = 200
"""Rows that are drawn."""

GROUPED = 2000
"""Rows that are grouped: linkage takes the square of their number in memory."""


def similarity(run: RunRecord) -> Part:
    """Return the matrix s_ij with similar clients beside each other."""
    found = run.similarity
    if found is None:
        return Missing(
            TITLE,
            "No round was finished, so no models were compared."
            if not run.rounds
            else f"{run.summary['algorithm']} does not compare its clients' models, or the run was made by a FedSieve "
            "that did not keep the matrix.",
        )
    if len(found.clients) < 2:
        return Missing(TITLE, "There was only one client in the last round: similarity needs two.")
    kept = thinned(range(len(found.clients)), GROUPED)
    matrix, clients = found.matrix[np.ix_(kept, kept)], [found.clients[at] for at in kept]
    grouping = grouped(matrix)
    shown = thinned(grouping.order, SHOWN)
    blocks = [len(set(community) & set(shown)) for community in grouping.communities]
    values = matrix[np.ix_(shown, shown)].astype(np.float64)
    names = [str(clients[row]) for row in shown]
    off = values[~np.eye(len(values), dtype=bool)]
    figure, zones = heat_map(
        values,
        names,
        names,
        axes_told=("client", "client"),
        bar="cosine of the functional embeddings",
        told=lambda row, column: f"clients {names[row]} and {names[column]}: {values[row, column]:.4f}",
        written=_written,
        bounds=(float(off.min()), 1.0) if len(off) and off.min() < 1 else (0.0, 1.0),
        blocks=[size for size in blocks if size],
        square=True,
    )
    few = f" {len(shown)} of {len(found.clients):,} clients are shown." if len(shown) < len(found.clients) else ""
    part = (
        f" Only the {counted(len(found.clients), 'client')} of that round are compared."
        if len(found.clients) < run.summary["num_clients"]
        else ""
    )
    table = (
        Table(
            ["client", *names],
            [[name, *(f"{value:.4f}" for value in row)] for name, row in zip(names, values, strict=True)],
        )
        if len(names) <= POINTED
        else None
    )
    caption = f"After round {found.round}; similar clients are beside each other.{part}{few} "
    caption += _communities(grouping, clients)
    return Drawn("similarity", TITLE, caption, figure, zones=zones, table=table)


def _written(value: float) -> str:
    """Return a cosine in as little room as it needs: ".98"."""
    return f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 0.995 else "1"


def _communities(grouping: Grouping, clients: list[int]) -> str:
    if len(clients) < 3:
        return "Communities need at least three clients."
    if not grouping.communities:
        return "No communities stand out: no partition of the clients has a mean silhouette above 0.25."
    told = ", ".join(f"{{{listed(sorted(clients[row] for row in community))}}}" for community in grouping.communities)
    return f"Framed: {len(grouping.communities)} communities (mean silhouette {grouping.silhouette:.2f}): {told}."
