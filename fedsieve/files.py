"""Files that appear whole or not at all, also where the machine loses its power; and what is in those of arrays."""

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
from torch import Tensor

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


def array_bytes(arrays: Mapping[str, np.ndarray[Any, Any]], about: Mapping[str, object] | None = None) -> bytes:
    """Return arrays as the bytes of a safetensors file, the same each time.

    What it is `about` is one entry of the metadata, as JSON, because safetensors puts several in any order.
    """
    whole = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    return bytes(safetensors.numpy.save(whole, None if about is None else {"fedsieve": json.dumps(about)}))


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return tensors as the bytes of a safetensors file, the same each time."""
    return bytes(safetensors.torch.save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}))
