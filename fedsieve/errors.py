"""What a user is meant to read: the exceptions, each one sentence, and the clauses that sentences share."""

import difflib
from collections.abc import Iterable, Sequence

LONGEST = 200


class UserError(Exception):
    """A mistake of the user's, told in one sentence.

    The sentence names the key or file, what was given and what is allowed. The command line prints it without a
    traceback and ends with exit code 2.
    """


class RunFailedError(Exception):
    """A run that cannot continue, and why in one sentence; what it had reached is on disk. Exit code 1."""


def suggest(given: str, names: Iterable[str], prefix: str = "") -> str:
    """Return " (did you mean NAME?)", `prefix` before the name, where `given` is close to one, else ""."""
    match = find_close(given, names)
    return f" (did you mean {prefix}{match}?)" if match else ""


def find_close(given: str, names: Iterable[str]) -> str:
    """Return the name that `given` is close to, "" where it is close to none."""
    by_lower = {name.lower(): name for name in names}
    return next((by_lower[name] for name in difflib.get_close_matches(given.lower(), by_lower, n=1)), "")


def list_first(names: Sequence[str], most: int = 10) -> str:
    """Return the first names, separated by commas, and ", ..." where there are more."""
    return ", ".join(names[:most]) + ", ..." * (len(names) > most)


def one_line(error: BaseException | None, longest: int | None = LONGEST) -> str:
    """Return the error's message on one line, cut to so many characters; None: whole."""
    return " ".join(str(error).split())[:longest]


def make_printable(text: str) -> str:
    """Return what a client sent as text that may be logged: one short line without control characters."""
    flat = "".join(character if character.isprintable() else " " for character in text[:1000])
    flat = " ".join(flat.split())
    return flat if len(flat) <= 400 else flat[:397] + "..."
