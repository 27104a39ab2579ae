"""Many models as the rows of one matrix, in memory or on disk."""

import itertools
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import Any

import numpy as np

from fedsieve.config import RunConfig
from fedsieve.errors import UserError
from fedsieve.wire import Arrays, NDArray

_log = logging.getLogger("fedsieve")

TOLD = 100 * 2**20
"""Bytes from which on the log says what matrices cost."""


class Rows:
    """Models of one network, each a row of a matrix; memory and disk are taken as rows are written.

    On disk it is a file without a name, which goes when the process does, whatever ends that. It is read and written
    plainly: pages of a mapped file would count as the process's memory, and a full disk would kill it.

    Args:
        like: the arrays of one model, by name; shapes and dtypes.
        count: number of rows.
        folder: where the file is, on disk that has room for it; None keeps the matrix in memory.
    """

    def __init__(self, like: Arrays, count: int, folder: Path | None) -> None:
        self._like = {name: (array.shape, array.dtype) for name, array in like.items()}
        self._ends = np.cumsum([0, *(array.size for array in like.values())]).tolist()
        self.dtype = _dtype(like)
        self.width: int = self._ends[-1]
        self._folder = folder
        self._file = None if folder is None else TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - as long as self
        self._memory: NDArray = np.empty((count if folder is None else 0, self.width), self.dtype)

    def put(self, row: int, arrays: Arrays) -> None:
        """Set one row."""
        whole = np.concatenate([arrays[name].reshape(-1) for name in self._like], dtype=self.dtype)
        self.put_columns([row], 0, whole[np.newaxis])

    def get(self, row: int) -> Arrays:
        """Return a copy of the model of one row, which must have been set."""
        whole = self.columns([row], 0, self.width)[0]
        return {
            name: whole[begin:end].reshape(shape).astype(dtype, copy=False)
            for (name, (shape, dtype)), (begin, end) in zip(
                self._like.items(), itertools.pairwise(self._ends), strict=True
            )
        }

    def blocks(self, columns: int) -> Iterator[tuple[int, int]]:
        """Yield the bounds of blocks of at most so many columns, none with columns of two arrays."""
        for begin, end in itertools.pairwise(self._ends):
            yield from ((start, min(start + columns, end)) for start in range(begin, end, columns))

    def columns(self, rows: Sequence[int], start: int, stop: int) -> NDArray:
        """Return a copy of the columns from `start` to before `stop` of rows that have been set, in their order."""
        if self._file is None:
            return self._memory[rows, start:stop]
        block = np.empty((len(rows), stop - start), self.dtype)
        for row, values in zip(rows, block, strict=True):
            _whole(os.preadv(self._file.fileno(), [values], self._at(row, start)), values, "read")
        return block

    def put_columns(self, rows: Sequence[int], start: int, block: NDArray) -> None:
        """Set these rows' columns from `start` on.

        Raises:
            UserError: the disk is full.
        """
        if self._file is None:
            self._memory[rows, start : start + block.shape[1]] = block
            return
        for row, values in zip(rows, block, strict=True):
            try:
                _whole(os.pwrite(self._file.fileno(), values, self._at(row, start)), values, "written")
            except OSError as error:
                raise UserError(f"{self._folder}: the server's models cannot be written: {error}.") from error

    def _at(self, row: int, column: int) -> int:
        return (row * self.width + column) * self.dtype.itemsize


def room_for(run: RunConfig, like: Arrays, *counts: int) -> list[Rows]:
    """Return matrices of so many rows each: in memory if `state-memory-mb` is enough for all, else in the run's folder.

    Raises:
        UserError: the folder cannot be written.
    """
    width, itemsize = sum(array.size for array in like.values()), _dtype(like).itemsize
    needed = sum(counts) * width * itemsize
    fits = needed <= run.state_memory_mb * 2**20
    folder = None if fits else Path(run.out or gettempdir())
    if needed > TOLD:
        where = "memory" if fits else f"a file in {folder}"
        _log.info("the server keeps up to %d models of %d weights each: %.1f GB in %s (state-memory-mb = %d)",
                  sum(counts), width, needed / 1e9, where, run.state_memory_mb)  # fmt: skip
    try:
        return [Rows(like, count, folder) for count in counts]
    except OSError as error:
        raise UserError(f"out: {folder} cannot be written: {error.strerror}.") from error


def _dtype(like: Arrays) -> np.dtype[Any]:
    return np.result_type(*(array.dtype for array in like.values()))


def _whole(moved: int, values: NDArray, verb: str) -> None:
    if moved != values.nbytes:
        raise OSError(f"{moved} of {values.nbytes} bytes were {verb}")
