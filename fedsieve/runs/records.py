"""A round as the lines of a run's folder, and back."""

import csv
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
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

ROUND_COLUMNS = (
    "round",
    "participants",
    "rejected",
    "train_loss",
    "val_accuracy",
    "test_accuracy",
    "test_accuracy_received",
    "uplink_bytes",
    "downlink_bytes",
)

OK, METRIC_ONLY, REJECTED, LOST = "ok", "metric-only", "rejected: ", ", started over: its state was missing"


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


def timing_line(round_: Round, cpu_seconds: float) -> dict[str, Any]:
    """Return the round's line of `timings.jsonl`; of one for the metric only it is the only line."""
    return {"round": round_.number, "seconds": round(round_.seconds, 6), "cpu_seconds": round(cpu_seconds, 6)}


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


@dataclass(frozen=True, slots=True)
class ClientRow:
    """A line of `clients.csv`.

    Attributes:
        metrics: those that have a column; none of a reply that was rejected.
        metric_only: the client trained for the metric only.
        rejected: why its reply was; None for one that was taken.
        uplink, downlink: bytes, serialised and of the arrays' values alone; None where nothing came or was sent.
    """

    round: int
    client: int
    metrics: dict[str, float]
    metric_only: bool
    rejected: str | None
    uplink: tuple[int, int] | None
    downlink: tuple[int, int] | None

    def reply(self) -> Reply:
        """Return the reply without its arrays."""
        return Reply(self.client, {}, self.metrics, *(self.uplink or (0, 0)))


def read_client_lines(lines: Iterable[str]) -> Iterator[ClientRow]:
    """Yield what `client_lines` has written, one line after the other, the first of them the columns' names.

    Columns may be fewer: a number that is not there is not known.

    Raises:
        ValueError, KeyError: the lines are others.
    """
    rows = csv.reader(lines)
    columns = next(rows, [])
    for cells in rows:
        if len(cells) != len(columns):
            raise ValueError(f"{len(cells)} cells where there are {len(columns)} columns")
        row = dict(zip(columns, cells, strict=True))
        status = row["status"]
        metrics = {metric: float(row[column]) for column, metric in METRICS.items() if row.get(column)}
        yield ClientRow(
            round=int(row["round"]),
            client=int(row["client"]),
            metrics=metrics | ({STATE_LOST: 1.0} if status.endswith(LOST) else {}),
            metric_only=status.startswith(METRIC_ONLY),
            rejected=status.removeprefix(REJECTED) if status.startswith(REJECTED) else None,
            uplink=_read_sizes(row, "uplink"),
            downlink=_read_sizes(row, "downlink"),
        )


def _read_sizes(row: Mapping[str, str], link: str) -> tuple[int, int] | None:
    size = row.get(f"{link}_bytes")
    return (int(size), int(row.get(f"{link}_payload_bytes") or 0)) if size else None


def rounds_of(rows: Iterable[ClientRow], seconds: Mapping[int, float]) -> Iterator[Round]:
    """Yield the rounds that these rows are of; a failed round is like any other.

    Args:
        rows: as they were written.
        seconds: what each round took.

    Raises:
        KeyError: a round's seconds are missing.
    """
    latest = LatestMetrics()
    for number, group in itertools.groupby(rows, lambda row: row.round):
        of_round = list(group)
        replies = tuple(row.reply() for row in of_round if row.rejected is None)
        latest.update(replies)
        yield Round(
            number=number,
            participants=tuple(row.client for row in of_round),
            replies=replies,
            rejected={row.client: row.rejected for row in of_round if row.rejected is not None},
            downlink_bytes={row.client: row.downlink[0] for row in of_round if row.downlink},
            downlink_payload_bytes={row.client: row.downlink[1] for row in of_round if row.downlink},
            for_metric_only=any(row.metric_only for row in of_round),
            means=latest.means(),
            seconds=seconds[number],
        )


class _Lines(list[str]):
    """What `csv` writes to: a list of lines."""

    write = list.append
