"""Screening of replies: whatever a client sends is checked before anything is computed with it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord

from fedsieve.client.state import STATE_LOST
from fedsieve.failures import explain
from fedsieve.wire import Arrays, NDArray, decode, payload_bytes, serialized_bytes

COUNTS = ("num-examples", "val-count", "test-count")
FRACTIONS = (
    "received-val-accuracy",
    "received-test-accuracy",
    "val-accuracy",
    "test-accuracy",
    "test-macro-f1",
    "mask-sparsity",
    STATE_LOST,
)
REQUIRED = {*COUNTS, *FRACTIONS, "train-loss"} - {"mask-sparsity", STATE_LOST}
MAX_METRIC = 1e12
MAX_VALUE = 1e6
"""No weight or embedding of a model that learns comes near; beyond it a mean or a forward pass can overflow."""
MAX_METRICS, MAX_NAME = 32, 64


@dataclass(frozen=True)
class Expected:
    """Shape and dtype that one array of a reply must have.

    Attributes:
        shape: the exact shape or, if `at_most`, one dimension of at most that length.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    at_most: bool = False

    @classmethod
    def like(cls, array: NDArray) -> "Expected":
        """Return what an array like `array` must be."""
        return cls(array.shape, array.dtype)

    @classmethod
    def up_to(cls, length: int, dtype: type[np.generic]) -> "Expected":
        """Return what a vector of unknown length must be, such as a code."""
        return cls((length,), np.dtype(dtype), at_most=True)


@dataclass(frozen=True)
class ClientReply:
    """One usable reply; `arrays` are read-only views of what arrived."""

    client: int
    arrays: Arrays
    metrics: dict[str, float]
    uplink_bytes: int
    uplink_payload_bytes: int

    @property
    def num_examples(self) -> int:
        """Number of training examples, |D_k|."""
        return int(self.metrics["num-examples"])


def screen(
    client: int,
    message: Message,
    expected: Mapping[str, Expected],
    unpack: Callable[[int, Arrays], Arrays] = lambda _, arrays: arrays,
) -> ClientReply | str:
    """Return the checked reply of `client`, or the reason why it is left out, one clause.

    Checked are the records and their keys, each array's shape, dtype and finiteness, that counts are counts and
    fractions fractions, and what `unpack` makes of the arrays: it raises a ValueError for those that stand for nothing.
    """
    if message.has_error():
        return printable(explain(message.error))
    content = message.content
    try:
        found = sorted(content.array_records), sorted(content.metric_records), sorted(content.config_records)
        if found != (["arrays"], ["metrics"], []):
            raise ValueError(
                f"array, metric and config records {found} where (['arrays'], ['metrics'], []) are expected"
            )
        arrays = _screened_arrays(content.array_records["arrays"], expected)
        metrics = _screened_metrics(content.metric_records["metrics"])
        meant = unpack(client, arrays)
    except ValueError as reason:
        return printable(str(reason))
    return ClientReply(client, meant, metrics, serialized_bytes(content), payload_bytes(content))


def _screened_arrays(record: ArrayRecord, expected: Mapping[str, Expected]) -> Arrays:
    if odd := set(record) ^ set(expected):
        raise ValueError(f"array keys differ from those expected: {', '.join(sorted(odd))}")
    arrays: Arrays = {}
    for name, want in expected.items():
        try:
            arrays[name] = decode(record[name], _shape(record[name], want), want.dtype)
        except ValueError as error:
            raise ValueError(f"array {name} {error}") from error
        if arrays[name].size and not -MAX_VALUE <= arrays[name].min() <= arrays[name].max() <= MAX_VALUE:
            fault = f"values beyond ±{MAX_VALUE:g}" if np.isfinite(arrays[name]).all() else "NaN or infinite values"
            raise ValueError(f"array {name} holds {fault}")
    return arrays


def _shape(array: Array, want: Expected) -> tuple[int, ...]:
    """Return the exact shape that `decode` has to find."""
    if not want.at_most:
        return want.shape
    if len(array.shape) != 1 or array.shape[0] > want.shape[0]:
        raise ValueError(f"has shape {array.shape} where at most {want.shape} is expected")
    return array.shape


def _screened_metrics(record: MetricRecord) -> dict[str, float]:
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


def printable(text: str) -> str:
    """Return what a client sent as text that may be logged: one short line without control characters."""
    flat = "".join(character if character.isprintable() else " " for character in text[:1000])
    flat = " ".join(flat.split())
    return flat if len(flat) <= 400 else flat[:397] + "..."
