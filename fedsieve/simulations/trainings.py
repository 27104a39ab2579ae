"""Which of a client's states the server may resume from: for each training of a round, the ones before and after it.

When the round is over one of the two stays: for a client with a usable reply the later, for any other the earlier. A
failed round is repeated by whoever resumes the run, from the states before it.
"""

from fedsieve.runs.rounds import Round


class Trainings:
    """The trainings of a round, be they of a client that has trained more than once."""

    def __init__(self) -> None:
        self._made: list[tuple[int, int, int]] = []

    def note(self, client: int, continued: int, round_: int) -> None:
        """Note that a client has trained in `round_`, and went on from its state after `continued`."""
        self._made.append((client, continued, round_))

    def let_go(self, round_: Round) -> list[tuple[int, int]]:
        """Return which states nobody will ask for again now that the round is over: client, and after which round."""
        usable, made, self._made = round_.usable, self._made, []
        return [(client, continued if client in usable else at) for client, continued, at in made]
