"""What a client says of itself before the first round, none of which is trusted."""

import math
import unicodedata
from dataclasses import dataclass
from typing import Any

from flwr.app import ConfigRecord, Message

from fedsieve.contract import Shape
from fedsieve.data.checks import MAX_LENGTH
from fedsieve.data.labels import MAX_CLASSES
from fedsieve.errors import make_printable
from fedsieve.wire import MAX_NAME


@dataclass(frozen=True)
class Introduction:
    """What a client says of its data: their shape, whether they are its own, and its first classes' names if any.

    Of data that are dealt also what they are called, and how many examples of each class there are.
    """

    shape: Shape
    is_own: bool = False
    classes: tuple[str, ...] = ()
    called: str = ""
    label_counts: tuple[int, ...] = ()


def read_introduction(reply: Message) -> tuple[int, Introduction] | str:
    """Return which client a node says that it is, and what it says of its data, or why this is not taken."""
    record = reply.content.config_records.get("client", ConfigRecord())
    sized = _read_sizes(record)
    if isinstance(sized, str):
        return sized
    client, shape = sized
    is_own, names = record.get("own-data", False), _names(record.get("class-names", []), shape.num_classes)
    if type(is_own) is not bool or names is None:
        return "it does not say properly whose its data are and what its classes are called"
    called: Any = record.get("client-name", "")
    counts: Any = record.get("label-counts", [])
    if not isinstance(called, str) or len(called) > MAX_NAME or not _are_counts(counts, shape.num_classes):
        return "it does not say properly what it is called and how many examples of each class it holds"
    return client, Introduction(shape, is_own, names, make_printable(called), tuple(counts))


def _read_sizes(record: ConfigRecord) -> tuple[int, Shape] | str:
    """Return which client it is and what its data decide about a network, or why this is not taken."""
    values = [record.get(key) for key in ("partition-id", "input-shape", "num-classes")]
    client, input_, num_classes = values
    edge_dim = record.get("edge-dim", 0)
    if not (type(client) is int and isinstance(input_, list) and type(num_classes) is int) or any(
        type(length) is not int for length in input_
    ):
        return make_printable(f"it answers {values} where whole numbers are expected")
    lengths = tuple(int(length) for length in input_)
    if len(lengths) not in {1, 3} or min(lengths) < 1:
        return make_printable(f"its data has examples of shape {format_shape(lengths)}")
    if math.prod(lengths) > MAX_LENGTH or not 0 <= num_classes <= MAX_CLASSES:
        return make_printable(f"its data has {math.prod(lengths)} features and {num_classes} classes")
    if type(edge_dim) is not int or not 0 <= edge_dim <= MAX_LENGTH:
        return make_printable(f"its edges carry {edge_dim!r} numbers")
    return client, Shape(lengths, num_classes, edge_dim)


def _are_counts(given: Any, num_classes: int) -> bool:
    """Return whether these are counts of at most so many classes."""
    return isinstance(given, list) and len(given) <= num_classes and all(type(n) is int and n >= 0 for n in given)


def _names(given: object, num_classes: int) -> tuple[str, ...] | None:
    """Return the names of the first classes, spelled alike on every system; None for what is none."""
    if not isinstance(given, list) or len(given) > num_classes:
        return None
    if any(not isinstance(name, str) or len(name) > MAX_NAME for name in given):
        return None
    return tuple(unicodedata.normalize("NFC", name) for name in given)


def format_shape(input_: tuple[int, ...], edge_dim: int = 0) -> str:
    """Return an example's shape in words, and how many numbers an edge carries if any."""
    return " x ".join(map(str, input_)) + (f" with edge_attr of {edge_dim}" if edge_dim else "")
