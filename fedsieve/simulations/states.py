"""Where the inline engine keeps its clients' states: in memory, as far as they may be, and in checkpoints' files."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from safetensors.torch import load_file

from fedsieve.array_files import tensor_bytes
from fedsieve.contract import Tensors
from fedsieve.runs.checkpoint_folder import CheckpointFolder
from fedsieve.runs.layout import state_file
from fedsieve.runs.rounds import Round
from fedsieve.simulations.trainings import Trainings


class KeptStates:
    """States in this process's memory up to a limit; beyond it those longest not used are in files of the checkpoints.

    So a state is written once, be it for a checkpoint or for want of memory.

    `load` copies: trainers change what they are given in place, and a client that fails in mid-training keeps the state
    that it had. That is 0.3 ms for the 5 MB of a FED-PUB client on Cora, 3 % of its round.

    Args:
        folder: where files are.
        limit: bytes of tensors in memory.
    """

    def __init__(self, folder: CheckpointFolder, limit: int) -> None:
        self._folder, self._limit, self._used = folder, limit, 0
        self._states: OrderedDict[tuple[int, int], Tensors] = OrderedDict()
        self._trainings = Trainings()

    def load(self, client: int, round_: int) -> Tensors | None:
        """Return a copy of the client's state after `round_`, empty for 0, None where it is not there."""
        if round_ == 0:
            return {}
        at = client, round_
        if at in self._states:
            self._states.move_to_end(at)
            return {name: tensor.clone() for name, tensor in self._states[at].items()}
        name = state_file(client, round_)
        return dict(load_file(self._folder.file(name))) if name in self._folder else None

    def save(self, client: int, round_: int, state: Tensors, continued: int) -> None:
        """Keep the client's state after `round_`; a full disk is a `UserError`."""
        if (client, continued) in self._states:
            self._states.move_to_end((client, continued), last=False)  # the first to go: hardly ever asked for again
        self._trainings.note(client, continued, round_)
        self._states[client, round_] = state
        self._used += _bytes(state)
        while self._used > self._limit:
            oldest, moved = next(iter(self._states.items()))
            self._folder.put(state_file(*oldest), partial(tensor_bytes, moved))
            self._forget(*oldest)

    def round_finished(self, round_: Round) -> None:
        """Drop the states that the server will not resume."""
        for gone in self._trainings.let_go(round_):
            self._forget(*gone)
            self._folder.discard(state_file(*gone))

    def packed(self, client: int, round_: int) -> Callable[[], bytes]:
        """Return what gives the bytes of the client's state after `round_`; a LookupError if it is not there."""
        state = self._states.get((client, round_))

        def made() -> bytes:
            if state is None:
                raise LookupError("it is not there")
            return tensor_bytes(state)

        return made

    def _forget(self, client: int, round_: int) -> None:
        self._used -= _bytes(self._states.pop((client, round_), {}))


def _bytes(state: Tensors) -> int:
    return sum(tensor.nbytes for tensor in state.values())
