"""What is found through entry points: built-in parts and those of any installed package, alike.

A group of entry points holds one kind of part, such as algorithms; an entry's name is the name that users write.
"""

from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from fedsieve.errors import UserError, one_line, suggest

Faults = Callable[[object], Iterator[str]]
"""Yields what makes an object unusable as one of a group's parts, a clause each."""


@cache
def entries(group: str) -> dict[str, list[EntryPoint]]:
    """Return the entries of a group by name: one for each package that registers the name."""
    by_name: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=group):
        by_name.setdefault(entry.name, []).append(entry)
    return by_name


def names(group: str) -> list[str]:
    """Return the sorted names of a group, without importing what they name."""
    return sorted(entries(group))


def plugin_of(group: str, name: str) -> str | None:
    """Return the installed package that brings `name`, as in "fedsieve-ditto 0.1.0"; None if it is built in.

    Of a member, `ENTRY:MEMBER`, that of the entry.
    """
    packages = [
        package
        for package in map(_describe_package, entries(group)[name.partition(":")[0]])
        if package.split()[0] != "fedsieve"
    ]
    return " and ".join(packages) or None


@cache
def load(group: str, name: str, key: str, faults: Faults) -> Any:
    """Import what `name` names in a group.

    Args:
        group: of entry points.
        name: as a user has written it.
        key: what it is the value of, for sentences.
        faults: of what was found.

    Raises:
        UserError: nobody has registered the name, or two packages have, or what is registered cannot be used.
    """
    if name not in entries(group):
        raise UserError(f"{key}: got {name!r}{suggest(name, entries(group))}, allowed: {', '.join(names(group))}.")
    entry, *others = entries(group)[name]
    if others:
        packages = " and ".join(map(_describe_package, entries(group)[name]))
        raise UserError(f"{key}: {name!r} is registered by {packages}; allowed: one of them installed.")
    entry_words = f"{key}: {name!r} ({entry.value} of {_describe_package(entry)})"
    try:
        part = entry.load()
    except Exception as error:
        raise UserError(f"{entry_words} could not be imported: {type(error).__name__}: {one_line(error)}.") from error
    if fault := next(faults(part), None):
        raise UserError(f"{entry_words} {fault}.")
    return part


def _describe_package(entry: EntryPoint) -> str:
    return "an unknown package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
