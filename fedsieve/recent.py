"""What was last made of two things: many clients are sent one of two objects, each of which is made ready once."""

import operator
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


class Recent(Generic[Given, Made]):
    """Calls `make`, but for the two things last given that were not known; they and what was made of them are held.

    Args:
        make: what to call with what is given.
        same: whether two things given are one; by default if they are the same object.
    """

    def __init__(self, make: Callable[[Given], Made], same: Callable[[Any, Any], bool] = operator.is_) -> None:
        self._make, self._same = make, same
        self._last: list[tuple[Given, Made]] = []

    def __call__(self, given: Given) -> Made:
        """Return what was made of `given`."""
        for known, made in self._last:
            if self._same(known, given):
                return made
        made = self._make(given)
        self._last = [*self._last[-1:], (given, made)]
        return made
