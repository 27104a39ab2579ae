"""Replies as no honest client sends them: each function spoils one in one way.

Where an algorithm sends no arrays that can be spoilt so, a metric stands in for them.
"""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from flwr.app import Message, MetricRecord, RecordDict

from fedsieve.contract import Arrays
from fedsieve.wire import to_arrays, to_record

Metrics = dict[str, Any]


def put_nan(arrays: Arrays, metrics: Metrics) -> None:
    """Put a NaN into every array of floats."""
    floats = [name for name, array in arrays.items() if array.dtype.kind == "f" and array.size]
    for name in floats:
        arrays[name].flat[0] = np.nan
    if not floats:
        metrics["train-loss"] = float("nan")


def put_wrong_shape(arrays: Arrays, metrics: Metrics) -> None:
    """Give every array one dimension more."""
    for name, array in arrays.items():
        arrays[name] = array[np.newaxis]
    if not arrays:
        metrics["train-loss"] = [0.5, 0.5]


def wrong_type(arrays: Arrays, metrics: Metrics) -> None:
    """Make complex numbers of every array."""
    for name, array in arrays.items():
        arrays[name] = array.astype(np.complex64)
    if not arrays:
        metrics["num-examples"] = 1.5


def missing_array(arrays: Arrays, metrics: Metrics) -> None:
    """Leave out the last array."""
    if arrays:
        arrays.popitem()
    else:
        del metrics["test-accuracy"]


def unknown_array(arrays: Arrays, _: Metrics) -> None:
    """Put in an array that nobody has asked for."""
    arrays["nobody-has-asked-for-this"] = np.zeros(1, dtype=np.float32)


def wrong_values(arrays: Arrays, metrics: Metrics, any_value: Collection[str] = ()) -> None:
    """Fill every array of whole numbers, or of floats where there is none, with its type's greatest number.

    An array that was so already gets the least one.

    Args:
        arrays, metrics: the reply's.
        any_value: names of arrays in which every number stands for something.
    """
    whole = [name for name, array in arrays.items() if array.dtype.kind in "iu" and name not in any_value]
    floats = [name for name, array in arrays.items() if array.dtype.kind == "f"]
    for name in whole:
        limits = np.iinfo(arrays[name].dtype)
        arrays[name][...] = limits.min if (arrays[name] == limits.max).all() else limits.max
    for name in [] if whole else floats:
        arrays[name][...] = np.finfo(arrays[name].dtype).max
    if not whole and not floats:
        metrics["val-accuracy"] = 7.0


Spoil = Callable[[Arrays, Metrics], None]
"""Changes a reply's arrays and metrics in place."""


def spoil_reply(reply: Message, spoil: Spoil) -> Message:
    """Return the train reply, spoilt."""
    if reply.has_error():
        return reply
    arrays = {name: array.copy() for name, array in to_arrays(reply.content.array_records["arrays"]).items()}
    metrics = dict(reply.content.metric_records["metrics"])
    spoil(arrays, metrics)
    content = RecordDict({"arrays": to_record(arrays), "metrics": MetricRecord(metrics)})
    reply.content = content
    return reply
