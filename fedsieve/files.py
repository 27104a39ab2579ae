"""Files that appear whole or not at all, also where the machine loses its power."""

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

PARTIAL = ".partial"


@dataclass(frozen=True)
class Extent:
    """What a file must be: how many bytes, and their CRC-32."""

    size: int = 0
    crc32: int = 0

    def followed_by(self, data: bytes) -> "Extent":
        """Return what there is with `data` after it."""
        return Extent(self.size + len(data), zlib.crc32(data, self.crc32))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, of whose folder `sync_folder` makes the name last; an OSError leaves what was there before."""
    partial = path.with_name(f".{path.name}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
