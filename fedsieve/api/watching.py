"""A caller's functions as observers of a run."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fedsieve.errors import UserError
from fedsieve.runs.records import round_line
from fedsieve.runs.rounds import Round

OnRound = Callable[[dict[str, Any]], object]
"""Takes a line of `rounds.jsonl`; True stops the run."""


def watch(on_round: OnRound | Iterable[OnRound]) -> list["Calling"]:
    """Return an observer for each function.

    Raises:
        UserError: one is none.
    """
    functions = [on_round] if callable(on_round) or not isinstance(on_round, Iterable) else list(on_round)
    for function in functions:
        if not callable(function):
            raise UserError(f"on_round: got {function!r}, allowed: a function of one round, or a list of them.")
    return [Calling(function) for function in functions]


class Calling:
    """Calls a function with each round in which something was combined."""

    def __init__(self, function: OnRound) -> None:
        self._function = function

    def round_finished(self, round_: Round) -> bool:
        """Call it, and return whether it has returned True: anything else lets the run continue."""
        if round_.for_metric_only:
            return False
        answer = self._function(round_line(round_))
        return isinstance(answer, bool | np.bool_) and bool(answer)
