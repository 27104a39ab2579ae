"""The processes of the lean Grid on this machine: started, and ended whatever happens."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from lean.keys import make_keys

NODES = tuple(f"node-{index}" for index in range(3))
STRANGER = "stranger"
"""Has a certificate of the CA, and is no node of the run."""


class Lean:
    """A server process and one process a node, in `folder`."""

    def __init__(self, folder: Path, keys: dict[str, object]) -> None:
        self.folder, self.numbers = folder, count()
        folder.mkdir()
        make_keys(folder / "keys", (*NODES, STRANGER))
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        self.server = self._started("server", ",".join(NODES), json.dumps(keys))
        self.nodes = {name: self.start(name) for name in NODES}
        roots = [self.server.pid, *(node.pid for node in self.nodes.values())]
        (folder / "roots.json").write_text(json.dumps(roots))

    def start(self, name: str) -> subprocess.Popen:
        return self._started("node", name, str(self.folder / name))

    def _started(self, module: str, *words: str) -> subprocess.Popen:
        command = [sys.executable, "-m", f"lean.{module}", self.address, str(self.folder / "keys"), *words]
        with (self.folder / f"{module}-{next(self.numbers)}.log").open("wb") as log:
            environment = os.environ | {"OMP_NUM_THREADS": "1", "METERED": str(self.folder)}
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def end(self) -> None:
        for process in (self.server, *self.nodes.values()):
            process.kill()
            process.wait()


@contextmanager
def leaning(folder: Path, keys: dict[str, object]) -> Iterator[Lean]:
    """Start server and nodes, and end them."""
    lean = Lean(folder, keys)
    try:
        yield lean
    finally:
        lean.end()
