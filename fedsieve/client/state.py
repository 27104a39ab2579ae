"""Where a client's state lives between rounds: in memory in simulations, on the device's disk otherwise."""

from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from fedsieve.algorithm import Tensors
from fedsieve.errors import UserError

KEEP = 2
"""Rounds of which a device keeps the state."""


class StateStore(Protocol):
    """Keeps what each client's trainer remembers: plain tensors that never leave the client."""

    def load(self, client: int) -> Tensors:
        """Return the client's newest state, empty if it has none."""

    def save(self, client: int, round_: int, state: Tensors) -> None:
        """Keep the client's state after `round_`."""


class MemoryStore:
    """States in this process's memory, one round each; `load` hands out the tensors themselves."""

    def __init__(self) -> None:
        self._states: dict[int, Tensors] = {}

    def load(self, client: int) -> Tensors:
        """Return the client's state, empty if it has none."""
        return self._states.get(client, {})

    def save(self, client: int, round_: int, state: Tensors) -> None:
        """Replace the client's state."""
        self._states[client] = state


class DiskStore:
    """States as safetensors files, the last two rounds of each client; a file appears whole or not at all.

    Flower's `Context.state` is not used for this: a restarted SuperNode loses it, and above about 100 MB it is dropped
    silently.

    Args:
        folder: belongs to one run on one device.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, client: int) -> Tensors:
        """Return the newest state that can be read, empty if there is none."""
        for path in reversed(self._files(client)):
            try:
                return load_file(path)
            except (SafetensorError, OSError):
                continue
        return {}

    def save(self, client: int, round_: int, state: Tensors) -> None:
        """Write the state and remove those of rounds before the last two; a full disk is a `UserError`."""
        target = self._client(client) / f"{round_:08d}.safetensors"
        partial = target.with_suffix(".partial")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: tensor.contiguous().cpu() for name, tensor in state.items()}, partial)
            partial.replace(target)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{target}: the client's state cannot be written: {error}.") from error
        for path in self._files(client)[:-KEEP]:
            path.unlink(missing_ok=True)

    def _client(self, client: int) -> Path:
        return self._folder / f"client-{client}"

    def _files(self, client: int) -> list[Path]:
        return sorted(self._client(client).glob("*.safetensors"))
