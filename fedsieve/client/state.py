"""Where a client's state lives between rounds: in memory, as far as it may, in simulations; on a device's disk."""

import shutil
from collections import OrderedDict
from pathlib import Path
from types import TracebackType
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
    """States in this process's memory up to a limit, one round each; beyond it those longest not used go to disk.

    A context manager, which removes what it has written when it is left.

    `load` copies: trainers change what they are given in place, and a client that fails in mid-training keeps the state
    that it had. That is 0.3 ms for the 5 MB of a FED-PUB client on Cora, 3 % of its round.

    Args:
        folder: for the states beyond the limit; of this store alone, made when the first is written.
        limit: bytes of tensors in memory.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit, self._used = folder, limit, 0
        self._states: OrderedDict[int, Tensors] = OrderedDict()
        self._written: set[int] = set()
        self._used_folder = False

    def __enter__(self) -> "MemoryStore":
        """Return the store."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the folder."""
        if self._used_folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def load(self, client: int) -> Tensors:
        """Return a copy of the client's state, empty if it has none."""
        if client in self._states:
            self._states.move_to_end(client)
            state = self._states[client]
        else:
            state = load_file(self._path(client)) if client in self._written else {}
        return {name: tensor.clone() for name, tensor in state.items()}

    def save(self, client: int, round_: int, state: Tensors) -> None:
        """Replace the client's state; a full disk is a `UserError`, and leaves all states as they were."""
        size, others = _bytes(state), self._used - _bytes(self._states.get(client, {}))
        if size > self._limit:
            self._move_out(client, state)
            return
        while others + size > self._limit:
            oldest = next(other for other in self._states if other != client)
            others -= _bytes(self._states[oldest])
            self._move_out(oldest, self._states[oldest])
        self._states[client] = state
        self._states.move_to_end(client)
        self._written.discard(client)
        self._used = others + size

    def _move_out(self, client: int, state: Tensors) -> None:
        self._used_folder = True
        _write(state, self._path(client))
        self._written.add(client)
        self._used -= _bytes(self._states.pop(client, {}))

    def _path(self, client: int) -> Path:
        return self._folder / f"client-{client}.safetensors"


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
        _write(state, self._client(client) / f"{round_:08d}.safetensors")
        for path in self._files(client)[:-KEEP]:
            path.unlink(missing_ok=True)

    def _client(self, client: int) -> Path:
        return self._folder / f"client-{client}"

    def _files(self, client: int) -> list[Path]:
        return sorted(self._client(client).glob("*.safetensors"))


def _write(state: Tensors, target: Path) -> None:
    """Write a file that appears whole or not at all."""
    partial = target.with_suffix(".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.contiguous().cpu() for name, tensor in state.items()}, partial)
        partial.replace(target)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{target}: the client's state cannot be written: {error}.") from error


def _bytes(state: Tensors) -> int:
    return sum(tensor.nbytes for tensor in state.values())
