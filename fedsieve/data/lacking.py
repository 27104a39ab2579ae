"""Clients with nothing for training, validation or testing: named, and refused where no client has anything."""

import logging
from collections.abc import Mapping, Sequence

from fedsieve.errors import UserError, list_first

_log = logging.getLogger("fedsieve")

_MEANING = {
    "training": "they take part but do not train",
    "validation": "they do not count in the validation accuracy",
    "testing": "they do not count in the test accuracy",
}


def check_parts(
    noun: str, counts: Sequence[Sequence[int]], given: Mapping[str, object], names: Sequence[str] = ()
) -> None:
    """Warn about clients that lack a part of what they need.

    Args:
        noun: what they hold, in the plural.
        counts: how much each client holds for training, validation and testing.
        given: the keys that decide it, and their values.
        names: what the clients are called; empty where they are only numbers.

    Raises:
        UserError: no client has anything for one of the three.
    """
    for (part, meaning), held in zip(_MEANING.items(), zip(*counts, strict=True), strict=True):
        lacking = [client for client, count in enumerate(held) if not count]
        if len(lacking) == len(counts):
            keys = ", ".join(f"{key} = {value}" for key, value in given.items())
            raise UserError(
                f"{keys}: these leave none of the {len(counts)} clients with {noun} for {part}, "
                "allowed: values that leave at least one with some."
            )
        if lacking:
            ids = list_first([names[client] if names else str(client) for client in lacking])
            _log.warning(
                "%d of %d clients have no %s for %s: %s; %s", len(lacking), len(counts), noun, part, ids, meaning
            )
