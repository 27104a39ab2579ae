"""What is found through entry points: built-in parts and those of any installed package, alike.

A group of entry points holds one kind of part, such as algorithms; an entry's name is the name that users write.
"""

from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from fedsieve.errors import UserError, near, one_line


@cache
def entries(group: str) -> dict[str, EntryPoint]:
    """Return the entries of a group by name."""
    return {entry.name: entry for entry in entry_points(group=group)}


def names(group: str) -> list[str]:
    """Return the sorted names of a group, without importing what they name."""
    return sorted(entries(group))


@cache
def load(group: str, name: str, key: str, fits: Callable[[Any], bool], kind: str) -> Any:
    """Import what `name` names in a group.

    Args:
        group: of entry points.
        name: as a user has written it.
        key: what it is the value of, for sentences.
        fits: whether what was found is one of the group's kind.
        kind: that kind, for sentences, such as "a fedsieve.algorithm.Algorithm".

    Raises:
        UserError: nobody registered the name, or what it names cannot be imported or is of another kind.
    """
    entry = entries(group).get(name)
    if entry is None:
        raise UserError(f"{key}: got {name!r}{near(name, entries(group))}, allowed: {', '.join(names(group))}.")
    try:
        found = entry.load()
    except Exception as error:
        raise UserError(f"{key}: {name!r} ({entry.value}) could not be imported: {one_line(error)}.") from error
    if not fits(found):
        raise UserError(f"{key}: {name!r} ({entry.value}) is not {kind}.")
    return found
