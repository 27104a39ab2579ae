"""Paths as people write them."""

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """Return a path with `~` and `~user` as the home folder; what stands for nobody's stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path's own raises for a user that does not exist


def absolute(path: str | Path) -> Path:
    """Return a path that holds in any folder, its symbolic links as they are: what they point to may have no suffix."""
    return expanded(path).absolute()
