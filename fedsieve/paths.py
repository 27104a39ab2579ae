"""Paths as people write them."""

import os
from collections.abc import Callable
from pathlib import Path

from fedsieve.errors import UserError


def expand(path: str | Path) -> Path:
    """Return a path with `~` and `~user` as the home folder; what stands for nobody's stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path's own raises for a user that does not exist


def make_absolute(path: str | Path) -> Path:
    """Return a path that holds in any folder, its symbolic links as they are: what they point to may have no suffix."""
    return expand(path).absolute()


def folder_named_by(variable: str, default: Callable[[], Path]) -> Path:
    """Return the folder that an environment variable names, by default one in the user's home.

    Raises `UserError` where that needs a home folder and there is none, as for a user without an entry in passwd.
    """
    given = os.environ.get(variable)
    try:
        path = expand(given) if given else default()
    except RuntimeError:  # platformdirs knows no home
        path = Path("~")
    if path.parts and path.parts[0].startswith("~"):
        fault = f"got {given!r}, whose home folder is unknown" if given else "is not set, and no home folder is known"
        raise UserError(f"{variable}: {fault}, allowed: a folder that can be written.")
    return path
