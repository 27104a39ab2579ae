"""Labels of a graph's nodes as people have them, words, one-hot rows, numbers with gaps, as numbers from 0."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from fedsieve.errors import UserError, list_first

_log = logging.getLogger("fedsieve")

Array: TypeAlias = npt.NDArray[Any]

MAX_CLASSES = 100_000


@dataclass(frozen=True)
class Labels:
    """Labels int64 N, -1 for none; the number of classes where it is more than the labels say; the classes' names."""

    y: torch.Tensor
    num_classes: int | None = None
    names: tuple[str, ...] = ()


def number_labels(source: str, arrays: Mapping[str, Any], *, part: bool = False) -> Labels:
    """Return the labels `y` of a graph as numbers of classes.

    Words are numbered in their order, or as `class_names` says; numbers that do not begin at 0 or have gaps are
    numbered in theirs, and are the classes' names. Those of a `part` of a federation's data stay as they are, because
    another part may have the classes that are missing.

    Raises `UserError` for labels that are none.
    """
    y = arrays["y"]
    names = _read_names(source, arrays.get("class_names"))
    count = _read_count(source, arrays.get("num_classes"), names)
    if y.ndim == 2:
        columns = y.shape[1]
        y = flatten_labels(source, y)
        count = count or (columns if y.ndim == 1 and columns > 1 else None)
    if y.ndim == 1 and len(y) and y.dtype.kind in "USO":
        return _number_words(source, y, names)
    if y.ndim != 1 or not len(y) or y.dtype.kind not in "biuf":
        raise UserError(f"{source}: y is {y.dtype} of shape {y.shape}; it must be whole numbers or words, one a node.")
    broken = int((~np.isfinite(y) | (y != np.floor(y))).sum()) if y.dtype.kind == "f" else 0
    if broken:
        raise UserError(f"{source}: y holds {broken} labels that are not whole numbers; give classes from 0 on, or -1.")
    given = np.unique(y[y != -1])
    limit = (count or MAX_CLASSES) - 1
    gaps = not part and count is None and not np.array_equal(given, np.arange(len(given)))
    high = len(given) - 1 if gaps else y.max()
    if y.min() < -1 or high > limit:
        raise UserError(
            f"{source}: y has labels from {y.min():.0f} to {y.max():.0f}; allowed are 0 to {limit}"
            f"{', as its class_names or num_classes say,' * (count is not None)} and -1 for nodes without a label."
        )
    if not gaps:
        return Labels(torch.from_numpy(y.astype(np.int64)), count, names)
    names = tuple(f"{label:.0f}" for label in given)
    log_order(source, names)
    numbers = np.where(y == -1, -1, np.searchsorted(given, y))
    return Labels(torch.from_numpy(numbers.astype(np.int64)), len(names), names)


def flatten_labels(source: str, y: Array) -> Array:
    """Return labels N x 1 or one-hot N x C as N; a one-hot row of zeros is a node without a label."""
    if y.shape[1] == 1:
        return y[:, 0]
    if not y.shape[1] or y.dtype.kind not in "biuf" or not np.isin(y, (0, 1)).all():
        return y
    if several := int((y.sum(axis=1) > 1).sum()):
        raise UserError(f"{source}: y is {len(y)} x {y.shape[1]} with several classes for {several} nodes; give one.")
    _log.info("%s: y is one-hot, %d x %d: the classes are its columns", source, *y.shape)
    return np.where(y.any(axis=1), y.argmax(axis=1), -1)


def to_words(values: Array) -> list[str]:
    """Return values as words, bytes decoded; None and NaN, which stand for a missing one, as the empty word."""
    return [_to_word(value) for value in values.tolist()]


def _to_word(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _number_words(source: str, y: Array, names: tuple[str, ...]) -> Labels:
    """Return words as numbers of classes; an empty word is none."""
    words = to_words(y)
    classes = names or tuple(sorted({word for word in words if word}))
    if len(classes) > MAX_CLASSES:
        raise UserError(f"{source}: y has {len(classes):,} classes; allowed are at most {MAX_CLASSES:,}.")
    number = {name: index for index, name in enumerate(classes)} | {"": -1}
    if strange := next((word for word in words if word not in number), None):
        raise UserError(
            f"{source}: y has the label {strange!r}; allowed are those of class_names: {list_first(names)}."
        )
    if not names:
        log_order(source, classes)
    return Labels(torch.tensor([number[word] for word in words]), len(classes), classes)


def log_order(source: str, names: tuple[str, ...]) -> None:
    """Say which class each label is."""
    if len(names) > 1:  # of one class nothing can be learnt: that is what will be said
        _log.info("%s: its labels are the classes 0 to %d in this order: %s", source, len(names) - 1, list_first(names))


def _read_names(source: str, given: Any) -> tuple[str, ...]:
    if given is None:
        return ()
    if given.ndim != 1 or given.dtype.kind not in "USOiu" or len(set(to_words(given))) < len(given):
        raise UserError(f"{source}: class_names is {given.dtype} of shape {given.shape}; it must be different words.")
    return tuple(to_words(given))


def _read_count(source: str, given: Any, names: tuple[str, ...]) -> int | None:
    """Return the number of classes that a file declares, None where it does not."""
    if given is None:
        return len(names) or None
    count = np.asarray(given)
    if count.size != 1 or count.dtype.kind not in "iu" or not len(names) <= count.item() <= MAX_CLASSES:
        raise UserError(
            f"{source}: num_classes is {given!r}; it must be a whole number, {len(names)} to {MAX_CLASSES}."
        )
    return int(count.item())
