"""Screening of replies: whatever a client sends is checked before anything is computed with it."""

import math
from collections.abc import Callable, Mapping

from flwr.app import ArrayRecord, Message, MetricRecord

from fedsieve.contract import COUNTS, FRACTIONS, STATE_LOST, Arrays, Expected, Reply
from fedsieve.errors import make_printable
from fedsieve.failures import explain
from fedsieve.wire import BUFFERS, checked_arrays, payload_bytes, serialized_bytes

REQUIRED = {*COUNTS, *FRACTIONS, "train-loss"} - {"mask-sparsity", STATE_LOST}
MAX_METRIC = 1e12
MAX_METRICS, MAX_NAME = 32, 64


def screen(
    client: int,
    message: Message,
    expected: Mapping[str, Expected],
    unpack: Callable[[int, Arrays], Arrays] = lambda _, arrays: arrays,
    buffers: Mapping[str, Expected] | None = None,
) -> Reply | str:
    """Return the checked reply of `client`, or the reason why it is rejected, one clause.

    Checked are the records and their keys, each array's shape, dtype and finiteness, that counts are counts and
    fractions fractions, and what `unpack` makes of the arrays: it raises a ValueError for those that stand for nothing.
    Where there are `buffers`, a reply holds them in a record of their own, checked alike.
    """
    if message.has_error():
        return make_printable(explain(message.error))
    content = message.content
    try:
        names = sorted(content.array_records), sorted(content.metric_records), sorted(content.config_records)
        of_arrays = ["arrays", BUFFERS] if buffers else ["arrays"]
        if names != (of_arrays, ["metrics"], []):
            raise ValueError(
                f"array, metric and config records {names} where {(of_arrays, ['metrics'], [])} are expected"
            )
        arrays = checked_arrays(content.array_records["arrays"], expected)
        metrics = _screen_metrics(content.metric_records["metrics"])
        averaged = screen_buffers(content.array_records[BUFFERS], buffers) if buffers else {}
        meant = unpack(client, arrays)
    except ValueError as reason:
        return make_printable(str(reason))
    return Reply(client, meant, metrics, serialized_bytes(content), payload_bytes(content), averaged)


def screen_buffers(record: ArrayRecord, expected: Mapping[str, Expected]) -> Arrays:
    """Return the buffers of a reply; a ValueError for what cannot be averaged, one clause."""
    arrays = checked_arrays(record, expected, MAX_METRIC)  # variances may be large, and counts grow
    for name, array in arrays.items():
        if name.rpartition(".")[2] == "running_var" and array.size and array.min() < 0:
            raise ValueError(f"array {name} holds variances below 0")
    return arrays


def _screen_metrics(record: MetricRecord) -> dict[str, float]:
    if missing := REQUIRED - set(record):
        raise ValueError(f"metrics lack {', '.join(sorted(missing))}")
    if len(record) > MAX_METRICS:
        raise ValueError(f"{len(record)} metrics where at most {MAX_METRICS} are taken")
    metrics: dict[str, float] = {}
    for name, value in record.items():
        if len(name) > MAX_NAME:
            raise ValueError(f"a metric's name has {len(name)} characters where at most {MAX_NAME} are taken")
        if isinstance(value, list) or not math.isfinite(value):
            raise ValueError(f"metric {name} is not one finite number")
        if name in COUNTS and not (value == int(value) and 0 <= value <= MAX_METRIC):
            raise ValueError(f"metric {name} is {value}, not a count")
        if name in FRACTIONS and not 0 <= value <= 1:
            raise ValueError(f"metric {name} is {value}, not between 0 and 1")
        if abs(value) > MAX_METRIC:
            raise ValueError(f"metric {name} is {value}, beyond ±{MAX_METRIC:g}")
        metrics[name] = float(value)
    return metrics
