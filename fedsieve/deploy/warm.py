"""A process that has imported what a ClientApp needs, or a ServerApp, and forks for each message, or run.

Flower starts a process for each, and imports take 5 CPU seconds of it. A SuperExec that finds a program of `path/`
before Flower's of the same name starts that instead, which hands its arguments to this process, over a socket in
FLWR_HOME that only the user may open. The first becomes this process itself: it imports, forks a child that does what
Flower's own program does, and waits for the next. It ends with the SuperExec that has started it.
"""

import os
import socket
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

LIBRARIES = {
    "flwr-clientapp": ("fedsieve.client.app.client_app", "httpcore", "sklearn.datasets", "sklearn.neighbors"),
    "flwr-serverapp": ("fedsieve.deploy.server_app", "httpcore"),
}
"""What each program needs: torch and PyG come with the first, Flower imports the second late, embedded data the
others."""

LOOK = 0.5
"""Seconds between two looks whether the superexec is still there."""


def serve(program: str, arguments: Sequence[str]) -> Sequence[str]:
    """Return, in a child, the arguments of each start: these first, then those that come over the socket."""
    parent = _find_parent(arguments)
    listener = _open_socket(Path(os.environ["FLWR_HOME"]), f"{program}.sock")
    for library in LIBRARIES[program]:
        import_module(library)
    asked = arguments
    while True:
        if asked and os.fork() == 0:
            listener.close()
            return asked
        asked = ()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not _exists(parent):
            os._exit(0)
        with suppress(TimeoutError, ConnectionError):
            asked = _accept_arguments(listener)


def _accept_arguments(listener: socket.socket) -> Sequence[str]:
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as stream:
        arguments = stream.read().decode().split("\0")
        connection.sendall(b"1")
    return arguments


def _open_socket(folder: Path, name: str) -> socket.socket:
    """Return a socket in `folder`, made with a relative path: that of a socket has at most 107 characters."""
    before = Path.cwd()
    listener = socket.socket(socket.AF_UNIX)
    listener.settimeout(LOOK)
    os.chdir(folder)
    mask = os.umask(0o077)
    try:
        Path(name).unlink(missing_ok=True)
        listener.bind(name)
        listener.listen()
    finally:
        os.umask(mask)
        os.chdir(before)
    return listener


def _find_parent(arguments: Sequence[str]) -> int:
    """Return the process id of the SuperExec, with which Flower's program would end too."""
    return int(arguments[list(arguments).index("--parent-pid") + 1]) if "--parent-pid" in arguments else os.getppid()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def main() -> None:
    """Do, in a child for each start, what Flower's own program does."""
    name, *arguments = sys.argv[1:]
    (program,) = entry_points(group="console_scripts", name=name)
    start = program.load()
    sys.argv = [name, *serve(name, arguments)]
    code: object = 1
    try:
        start()
    except SystemExit as left:  # Flower has cleaned up by then
        code = left.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)  # torch would spend 2 CPU seconds on taking its libraries apart


if __name__ == "__main__":
    main()
