"""A round as the lines of a run's folder, and back."""

import csv
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fedsieve.contract import STATE_LOST, Reply
from fedsieve.runs.latest import LatestMetrics
from fedsieve.runs.rounds import Round

METRICS = {
    "num_examples": "num-examples",
    "train_loss": "train-loss",
    "val_accuracy": "val-accuracy",
    "test_accuracy": "test-accuracy",
    "test_macro_f1": "test-macro-f1",
    "val_accuracy_received": "received-val-accuracy",
    "test_accuracy_received": "received-test-accuracy",
    "mask_sparsity": "mask-sparsity",
    "val_count": "val-count",
    "test_count": "test-count",
}
"""The metric of each column of `clients.csv` that is one."""

COUNTS = ("num_examples", "val_count", "test_count")

CLIENT_COLUMNS = (
    "round",
    "client",
    "status",
    "num_examples",
    "train_loss",
    "val_accuracy",
    "test_accuracy",
    "test_macro_f1",
    "val_accuracy_received",
    "test_accuracy_received",
    "mask_sparsity",
    "uplink_bytes",
    "uplink_payload_bytes",
    "downlink_bytes",
    "downlink_payload_bytes",
    "val_count",
    "test_count",
)

OK, METRIC_ONLY, REJECTED, LOST = "ok", "metric-only", "rejected: ", ", began anew: its state was not there"


def round_line(round_: Round) -> dict[str, Any]:
    """Return the round's line of `rounds.jsonl`."""
    means = round_.means
    return {
        "round": round_.number,
        "participants": list(round_.participants),
        "rejected": {str(client): reason for client, reason in round_.rejected.items()},
        "train_loss": means.get("train-loss"),
        "val_accuracy": means.get("val-accuracy"),
        "test_accuracy": means.get("test-accuracy"),
        "test_accuracy_received": means.get("received-test-accuracy"),
        "uplink_bytes": sum(reply.uplink_bytes for reply in round_.replies),
        "downlink_bytes": sum(round_.downlink_bytes.values()),
    }


def client_lines(round_: Round) -> list[str]:
    """Return the lines of `clients.csv` of the round's participants, sorted by client."""
    done = METRIC_ONLY if round_.for_metric_only else OK
    lost = set(round_.lost)
    rows: list[dict[str, Any]] = []
    for reply in round_.replies:
        row: dict[str, Any] = {"client": reply.client, "status": done + LOST * (reply.client in lost)}
        row |= {column: reply.metrics.get(metric, "") for column, metric in METRICS.items()}
        row |= {column: int(row[column]) for column in COUNTS}
        row |= {"uplink_bytes": reply.uplink_bytes, "uplink_payload_bytes": reply.uplink_payload_bytes}
        rows.append(row)
    rows += [{"client": client, "status": REJECTED + reason} for client, reason in round_.rejected.items()]
    lines = _Lines()
    writer = csv.DictWriter(lines, CLIENT_COLUMNS, restval="", lineterminator="")
    for row in sorted(rows, key=lambda row: row["client"]):
        row |= {"round": round_.number}
        if (client := row["client"]) in round_.downlink_bytes:
            row |= {"downlink_bytes": round_.downlink_bytes[client]}
            row |= {"downlink_payload_bytes": round_.downlink_payload_bytes[client]}
        writer.writerow(row)
    return lines


def read_rounds(clients: Iterable[str], seconds: Mapping[int, float]) -> tuple[Round, ...]:
    """Return the rounds that `client_lines` has written, of metrics those alone that have a column.

    Args:
        clients: the lines of `clients.csv`, its first included.
        seconds: what each round took.

    Raises:
        ValueError, KeyError: the lines are others.
    """
    latest = LatestMetrics()
    by_round = itertools.groupby(csv.DictReader(clients), lambda row: int(row["round"]))
    return tuple(_round(number, list(rows), seconds[number], latest) for number, rows in by_round)


def _round(number: int, rows: list[dict[str, str]], seconds: float, latest: LatestMetrics) -> Round:
    replies = tuple(map(_reply, (row for row in rows if not row["status"].startswith(REJECTED))))
    latest.update(replies)
    return Round(
        number=number,
        participants=tuple(int(row["client"]) for row in rows),
        replies=replies,
        rejected={
            int(row["client"]): row["status"].removeprefix(REJECTED)
            for row in rows
            if row["status"].startswith(REJECTED)
        },
        downlink_bytes=dict(_sizes(rows, "downlink_bytes")),
        downlink_payload_bytes=dict(_sizes(rows, "downlink_payload_bytes")),
        for_metric_only=any(row["status"].startswith(METRIC_ONLY) for row in rows),
        means=latest.means(),
        seconds=seconds,
    )


def _reply(row: dict[str, str]) -> Reply:
    metrics = {metric: float(row[column]) for column, metric in METRICS.items() if row[column]}
    if row["status"].endswith(LOST):
        metrics[STATE_LOST] = 1.0
    return Reply(int(row["client"]), {}, metrics, int(row["uplink_bytes"]), int(row["uplink_payload_bytes"]))


def _sizes(rows: list[dict[str, str]], column: str) -> Iterator[tuple[int, int]]:
    return ((int(row["client"]), int(row[column])) for row in rows if row[column])


class _Lines(list[str]):
    """What `csv` writes to: a list of lines."""

    write = list.append
