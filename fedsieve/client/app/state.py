"""Where a client's state lives between rounds: the interface of every store, and that of a device, on its disk."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError
from safetensors.torch import load_file

from fedsieve.array_files import tensor_bytes
from fedsieve.contract import Tensors
from fedsieve.errors import UserError
from fedsieve.files import sync_folder, write_whole

KEEP = 2
"""Rounds before its last training of which a device keeps the state: those that the server's two checkpoints name."""

ABOUT = "about.json"
"""File beside a client's states: the run's keys, what the data decide about the network, the names of the classes."""

STATE_LOST = "state-lost"
"""Metric, 1, of a client that started from nothing because it does not have the state that it was to continue from."""


class StateStore(Protocol):
    """Keeps what each client's trainer remembers: plain tensors that never leave the client."""

    def load(self, client: int, round_: int) -> Tensors | None:
        """Return the client's state after its training in `round_`, empty for 0, None where it is not there."""

    def save(self, client: int, round_: int, state: Tensors, continued: int) -> None:
        """Keep the client's state after `round_`, in which it continued from that after `continued`.

        The server may ask to continue from either, whichever of the two it has a usable reply to.
        """


class DiskStore:
    """States as safetensors files; a file appears whole or not at all.

    Of each client the state after its last training is kept, that which it continued from, and the one before: a server
    that was killed resumes from one of its last two checkpoints. All others are of no use any more: they are older, or
    the server has gone back to before them.

    Flower's `Context.state` is not used for this: a restarted SuperNode loses it, and above about 100 MB it is dropped
    silently.

    Args:
        folder: belongs to one run on one device.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, client: int, round_: int) -> Tensors | None:
        """Return the state after `round_`; None also where its file cannot be read."""
        if round_ == 0:
            return {}
        try:
            return dict(load_file(self._path(client, round_)))
        except (SafetensorError, OSError):
            return None

    def save(self, client: int, round_: int, state: Tensors, continued: int) -> None:
        """Write the state and remove those that cannot be asked for; a full disk is a `UserError`."""
        target = self._path(client, round_)
        self._write(target, tensor_bytes(state))
        files = {int(path.stem): path for path in target.parent.glob("*.safetensors")}
        needed = {round_, *sorted(before for before in files if before <= continued)[-KEEP:]}
        for number, path in files.items():
            if number not in needed:
                path.unlink(missing_ok=True)

    def newest(self, client: int) -> Tensors | None:
        """Return the state after the client's last training, None where there is none that can be read."""
        rounds = [int(path.stem) for path in (self._folder / f"client-{client}").glob("*.safetensors")]
        return self.load(client, max(rounds)) if rounds else None

    def clients(self) -> list[int]:
        """Return the clients that are described, sorted."""
        return sorted(int(path.parent.name.removeprefix("client-")) for path in self._folder.glob(f"client-*/{ABOUT}"))

    def about(self, client: int) -> dict[str, Any] | None:
        """Return what `describe` has kept, None where there is nothing that can be read."""
        try:
            about: dict[str, Any] = json.loads(self._path(client, 0).with_name(ABOUT).read_bytes())
        except (OSError, ValueError):
            return None
        return about

    def describe(self, client: int, about: Mapping[str, Any]) -> None:
        """Keep what it takes to use the client's states; a full disk is a `UserError`."""
        self._write(self._path(client, 0).with_name(ABOUT), json.dumps(about).encode())

    def _write(self, target: Path, data: bytes) -> None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, data)
            sync_folder(target.parent)
        except OSError as error:
            raise UserError(f"{target}: the client's state cannot be written: {error.strerror}.") from error

    def _path(self, client: int, round_: int) -> Path:
        return self._folder / f"client-{client}" / f"{round_:08d}.safetensors"
