"""Whether clients mean the same classes: their names, compared before the first round."""

import logging
from collections import Counter
from collections.abc import Mapping

from fedsieve.errors import RunFailedError, make_printable

_log = logging.getLogger("fedsieve")


def find_other_classes(classes: Mapping[int, tuple[str, ...]]) -> dict[int, str]:
    """Return what is wrong with the clients whose classes have other names than those of more than half of all.

    Two agree if they name those alike that both have. Clients whose labels are only numbers agree with all.

    Raises:
        RunFailedError: no names are those of more than half.
    """
    named = {client: names for client, names in classes.items() if names}
    if not named:
        return {}
    kinds = Counter(named.values())

    def count_agreeing(names: tuple[str, ...]) -> int:
        return sum(count for other, count in kinds.items() if _find_difference(names, other) is None)

    usual = max(kinds, key=lambda names: (count_agreeing(names), len(names)))
    odd = {client: at for client, names in named.items() if (at := _find_difference(names, usual)) is not None}
    if odd and 2 * count_agreeing(usual) <= len(named):
        one, other = next(client for client in named if client not in odd), next(iter(odd))
        at = odd[other]
        raise RunFailedError(
            f"clients' classes differ: class {at} is {_quote(usual[at])} of client {one} and "
            f"{_quote(named[other][at])} of client {other}, allowed: the same classes everywhere, in the same order "
            "(of images in folders: a folder for each class, an empty one too)."
        )
    if len(named) < len(classes):
        unnamed = sorted(set(classes) - set(named))
        _log.warning("clients %s do not name their classes, which are taken to be the others' by number", unnamed[:20])
    return {
        client: f"its class {at} is {_quote(named[client][at])}, that of most is {_quote(usual[at])}"
        for client, at in odd.items()
    }


def _find_difference(one: tuple[str, ...], other: tuple[str, ...]) -> int | None:
    """Return the first class that both name, but not alike."""
    return next((at for at, (mine, theirs) in enumerate(zip(one, other, strict=False)) if mine != theirs), None)


def _quote(name: str) -> str:
    short = make_printable(name)
    return f'"{short if len(short) <= 40 else short[:37] + "..."}"'
