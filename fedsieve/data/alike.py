"""Whether the data of given clients are of one kind: the same features and classes, checked before anything trains."""

import logging
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path

from fedsieve.contract import Shape
from fedsieve.errors import UserError, list_first

_log = logging.getLogger("fedsieve")


def check_inputs(places: Sequence[Path], shapes: Sequence[Shape], noun: str) -> None:
    """Raise `UserError`, naming the file that differs from most, unless all clients' examples are of one size.

    Args:
        places: each client's file or folder.
        shapes: what each one's data decide about a network.
        noun: what an example is, as in "an image".
    """
    for other, usual in _find_odd([(shape.input, shape.edge_dim) for shape in shapes]):
        sizes = [_describe(shapes[at]) for at in (other, usual)]
        raise UserError(
            f"{places[other]}: {noun} is of size {sizes[0]}, allowed: {sizes[1]}, as in {places[usual].name}; all "
            "clients' data must be of one kind."
        )


def check_classes(places: Sequence[Path], classes: Sequence[tuple[str, ...]]) -> None:
    """Raise `UserError`, naming the file that differs from most, unless clients that name their classes do so alike.

    One may name more than another does.
    """
    named = [at for at, names in enumerate(classes) if names]
    if named and (bare := [place.name for place, names in zip(places, classes, strict=True) if not names]):
        _log.warning(
            "%s: no names of classes, which are taken to be those of %s by number: 0 is %s, and so on",
            list_first(bare),
            places[named[0]].name,
            classes[named[0]][0],
        )
    usual = max(named, key=lambda at: (sum(_agree(classes[at], classes[one]) for one in named), -at), default=None)
    for other in named:
        if usual is None or _agree(classes[other], classes[usual]):
            continue
        at = next(at for at, pair in enumerate(zip(classes[other], classes[usual], strict=False)) if pair[0] != pair[1])
        raise UserError(
            f"{places[other]}: its class {at} is {classes[other][at]!r}, allowed: {classes[usual][at]!r}, as in "
            f"{places[usual].name}; clients must name the same classes in the same order (of graphs in class_names, of "
            "images by a folder for each class, an empty one too, a ClassLabel column, or a Dataset's classes)."
        )


def _describe(shape: Shape) -> str:
    of_edges = f" with {shape.edge_dim} for each edge" if shape.edge_dim else ""
    return " x ".join(map(str, shape.input)) + of_edges


def _agree(one: Sequence[str], other: Sequence[str]) -> bool:
    return all(mine == theirs for mine, theirs in zip(one, other, strict=False))


def _find_odd(values: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Return the first value that is not the most frequent one and the first that is, by number; nothing of alike."""
    usual, _ = Counter(values).most_common(1)[0]
    odd = next((at for at, value in enumerate(values) if value != usual), None)
    return [] if odd is None else [(odd, values.index(usual))]
