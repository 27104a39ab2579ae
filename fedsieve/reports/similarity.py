"""The server's similarity matrix, ordered, with the communities that it shows."""

import numpy as np

from fedsieve.reports.communities import Grouping, group_rows
from fedsieve.reports.figure import Drawn, Missing, Part, Table
from fedsieve.reports.heat import POINTED, draw_heat_map
from fedsieve.reports.words import format_count, format_ids, thin_out
from fedsieve.runs.reading import RunRecord

TITLE = "Similarity of the clients' models"

SHOWN = 200
"""Rows that are drawn."""

GROUPED = 2000
"""Rows that are grouped: linkage takes the square of their number in memory."""


def draw_similarity(run: RunRecord) -> Part:
    """Return the matrix s_ij with similar clients beside each other."""
    likeness = run.similarity
    if likeness is None:
        return Missing(
            TITLE,
            "No round was finished, so no models were compared."
            if not run.rounds
            else f"{run.summary['algorithm']} does not compare its clients' models, or the run was made by a FedSieve "
            "that did not keep the matrix.",
        )
    if len(likeness.clients) < 2:
        return Missing(TITLE, "There was only one client in the last round: similarity needs two.")
    compared = thin_out(range(len(likeness.clients)), GROUPED)
    matrix, clients = likeness.matrix[np.ix_(compared, compared)], [likeness.clients[at] for at in compared]
    grouping = group_rows(matrix)
    shown = thin_out(grouping.order, SHOWN)
    blocks = [len(set(community) & set(shown)) for community in grouping.communities]
    values = matrix[np.ix_(shown, shown)].astype(np.float64)
    names = [str(clients[row]) for row in shown]
    off = values[~np.eye(len(values), dtype=bool)]
    figure, zones = draw_heat_map(
        values,
        names,
        names,
        axis_labels=("client", "client"),
        bar="cosine of the functional embeddings",
        describe=lambda row, column: f"clients {names[row]} and {names[column]}: {values[row, column]:.4f}",
        format_value=_format_cosine,
        bounds=(float(off.min()), 1.0) if len(off) and off.min() < 1 else (0.0, 1.0),
        blocks=[size for size in blocks if size],
        square=True,
    )
    few = f" {len(shown)} of {len(likeness.clients):,} clients are shown." if len(shown) < len(likeness.clients) else ""
    part = (
        f" Only the {format_count(len(likeness.clients), 'client')} of that round are compared."
        if len(likeness.clients) < run.summary["num_clients"]
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
    caption = f"After round {likeness.round}; similar clients are beside each other.{part}{few} "
    caption += _describe_communities(grouping, clients)
    return Drawn("similarity", TITLE, caption, figure, zones=zones, table=table)


def _format_cosine(value: float) -> str:
    """Return a cosine in as little room as it needs: ".98"."""
    return f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 0.995 else "1"


def _describe_communities(grouping: Grouping, clients: list[int]) -> str:
    if len(clients) < 3:
        return "Communities need at least three clients."
    if not grouping.communities:
        return "No communities stand out: no partition of the clients has a mean silhouette above 0.25."
    members = ", ".join(
        f"{{{format_ids(sorted(clients[row] for row in community))}}}" for community in grouping.communities
    )
    return f"Framed: {len(grouping.communities)} communities (mean silhouette {grouping.silhouette:.2f}): {members}."
