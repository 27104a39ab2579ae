"""What a client says of itself before the first round, none of which is trusted."""

import math
import unicodedata
from dataclasses import dataclass

from flwr.app import ConfigRecord, Message

from fedsieve.contract import Shape
from fedsieve.data.checks import MAX_CLASSES, MAX_LENGTH
from fedsieve.errors import make_printable
from fedsieve.wire import MAX_NAME


@dataclass(frozen=True)
class Introduction:
    """What a client says of its data: their shape, whether they are its own, and its first classes' names if any."""

    shape: Shape
    is_own: bool = False
    classes: tuple[str, ...] = ()


def read_introduction(reply: Message) -> tuple[int, Introduction] | str:
    """Return which client a node says that it is, and what it says of its data, or why this is not taken."""
    record = reply.content.config_records.get("client", ConfigRecord())
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
    is_own, names = record.get("own-data", False), _names(record.get("class-names", []), num_classes)
    if type(is_own) is not bool or names is None:
        return "it does not say properly whose its data are and what its classes are called"
    return client, Introduction(Shape(lengths, num_classes, edge_dim), is_own, names)


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
