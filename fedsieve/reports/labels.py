"""The figure of how unlike clients are: how many examples of each class each holds."""

import numpy as np

from fedsieve.errors import make_printable
from fedsieve.reports.figure import Drawn, Missing, Part, Table
from fedsieve.reports.heat import draw_heat_map
from fedsieve.reports.words import format_count, thin_out, thin_out_rows
from fedsieve.runs.reading import RunRecord

TITLE = "Classes of each client"

SHOWN = 100
"""Clients, and classes, that are drawn: of the classes those of most examples."""

LONG = 20
"""Letters of a name on its axis."""


def draw_label_counts(run: RunRecord) -> Part:
    """Return the examples of each class, a column a client."""
    counts = {int(client): row for client, row in (run.summary.get("label_counts") or {}).items()}
    if not counts or not any(map(sum, counts.values())):
        reason = "The run has recorded no counts of labels: devices keep their own data's to themselves."
        return Missing(TITLE, reason)
    clients, width = sorted(counts), max(map(len, counts.values()))
    table = np.array([counts[client] + [0] * (width - len(counts[client])) for client in clients], dtype=np.float64)
    classes = np.sort(np.argsort(-table.sum(axis=0), kind="stable")[:SHOWN])
    shown = thin_out(range(len(clients)), SHOWN)
    names = [run.name_of(clients[at]) for at in shown]
    labels = [_name_class(run, int(label)) for label in classes]
    values = table[np.ix_(np.array(shown), classes)].T
    figure, zones = draw_heat_map(
        values,
        [label[:LONG] for label in labels],
        [name[:LONG] for name in names],
        axis_labels=("client", "class"),
        bar="examples",
        describe=lambda row, column: f"client {names[column]}, class {labels[row]}: {int(values[row, column]):,}",
        format_value=lambda value: f"{value:.0f}",
    )
    few = ""
    if len(shown) < len(clients) or len(classes) < width:
        few = (
            f" {len(shown):,} of {format_count(len(clients), 'client')} and the {len(classes):,} largest of {width:,} "
            "classes are shown."
        )
    held = (table > 0).sum(axis=1)
    caption = (
        "How many labelled examples of each class each client holds, for training, validation and testing together; "
        f"half of the clients hold at most {int(np.median(held)):,} of {width:,} classes.{few}"
    )
    rows = thin_out_rows([name, *(f"{int(value):,}" for value in values[:, at])] for at, name in enumerate(names))
    return Drawn("labels", TITLE, caption, figure, zones=zones, table=Table(["client", *labels], rows))


def _name_class(run: RunRecord, label: int) -> str:
    names = run.summary.get("class_names") or []
    return make_printable(names[label]) if label < len(names) else str(label)
