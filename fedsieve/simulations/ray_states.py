"""Where the ray engine keeps its clients' states: in Ray's object store, and in the checkpoints' files."""

from collections.abc import Callable
from typing import Any

import ray
from safetensors.torch import load_file

from fedsieve.array_files import tensor_bytes
from fedsieve.runs.checkpoint_folder import CheckpointFolder
from fedsieve.runs.layout import state_file
from fedsieve.runs.rounds import Round
from fedsieve.simulations.parcels import pack_state, unpack_state
from fedsieve.simulations.trainings import Trainings


class ReferredStates:
    """References to packed states that this process owns, so that they outlive the workers that made them.

    Args:
        folder: where the files are from which a resumed run takes states that are not in the object store.
    """

    def __init__(self, folder: CheckpointFolder) -> None:
        self._folder = folder
        self._states: dict[tuple[int, int], Any] = {}
        self._trainings = Trainings()

    def reference(self, client: int, round_: int) -> Any:
        """Return the reference of the client's state after `round_`, None for 0 and where there is none."""
        name = state_file(client, round_)
        if round_ > 0 and (client, round_) not in self._states and name in self._folder:
            self._states[client, round_] = ray.put(pack_state(load_file(self._folder.file(name))))
        return self._states.get((client, round_))

    def save(self, client: int, round_: int, state: Any, continued: int) -> None:
        """Keep the reference of the client's state after `round_`."""
        self._states[client, round_] = state
        self._trainings.note(client, continued, round_)

    def forget(self, client: int, round_: int) -> None:
        """Drop a state; one that the object store has lost is taken from its file the next time, if it has one."""
        self._states.pop((client, round_), None)

    def round_finished(self, round_: Round) -> None:
        """Drop the states that the server will not resume."""
        for gone in self._trainings.let_go(round_):
            self.forget(*gone)

    def packed(self, client: int, round_: int) -> Callable[[], bytes]:
        """Return what gives the bytes of the client's state after `round_`; a LookupError if Ray has lost it."""
        reference = self._states.get((client, round_))

        def made() -> bytes:
            try:
                if reference is None:
                    raise LookupError("it is not there")
                return tensor_bytes(unpack_state(ray.get(reference)))
            except ray.exceptions.RayError as error:
                raise LookupError(f"Ray's object store has lost it: {type(error).__name__}") from error

        return made
