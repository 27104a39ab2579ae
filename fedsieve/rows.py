"""Many models as the rows of one matrix, in memory or on disk."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile, gettempdir

import numpy as np

from fedsieve.contract import Arrays, Expected, NDArray
from fedsieve.errors import UserError

_log = logging.getLogger("fedsieve")

REPORTED = 100 * 2**20
"""Bytes from which on the log says what matrices cost."""

FIRST_ROWS = 16
"""Rows for which memory is reserved at first; their number doubles as rows are added."""


class Rows:
    """Models of one network, each a row; memory and disk are taken as rows are written.

    On disk it is a file without a name, which goes when the process does, whatever ends that. It is read and written
    plainly: pages of a mapped file would count as the process's memory, and a full disk would kill it.

    Args:
        layout: shape and dtype of each array of a model, by name; at most so many numbers where it is `at_most`.
        folder: where the file is, on disk that has room for it; None keeps the rows in memory.
    """

    def __init__(self, layout: Mapping[str, Expected], folder: Path | None = None) -> None:
        self.layout = dict(layout)
        self._folder = folder
        self._file = None if folder is None else TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - as long as self
        self._memory: Arrays = {}
        self._offsets: dict[str, int] = {}
        self._row_bytes = 0
        for name, expected in self.layout.items():
            self._offsets[name] = self._row_bytes
            self._row_bytes += expected.nbytes

    def put(self, row: int, arrays: Mapping[str, NDArray]) -> None:
        """Set one row, of some or all of its arrays."""
        for name, array in arrays.items():
            self.put_columns([row], name, 0, array.reshape(1, -1))

    def get(self, row: int) -> Arrays:
        """Return a copy of the model of one row, which must have been set."""
        return {
            name: self.columns([row], name, 0, int(np.prod(expected.shape)))[0].reshape(expected.shape)
            for name, expected in self.layout.items()
        }

    def columns(self, rows: Sequence[int], name: str, start: int, stop: int) -> NDArray:
        """Return a copy of the numbers from `start` to before `stop` of an array of rows that have been set."""
        if self._file is None:
            self._reserve(name, max(rows, default=-1) + 1)
            return self._memory[name][rows, start:stop]
        block = np.empty((len(rows), stop - start), self.layout[name].dtype)
        for row, values in zip(rows, block, strict=True):
            _check_whole(os.preadv(self._file.fileno(), [values], self._at(row, name, start)), values, "read")
        return block

    def put_columns(self, rows: Sequence[int], name: str, start: int, block: NDArray) -> None:
        """Set the numbers of an array of these rows from `start` on.

        Raises:
            UserError: the disk is full.
        """
        dtype = self.layout[name].dtype
        if self._file is None:
            self._reserve(name, max(rows, default=-1) + 1)
            self._memory[name][rows, start : start + block.shape[1]] = block
            return
        for row, values in zip(rows, np.ascontiguousarray(block, dtype), strict=True):
            try:
                _check_whole(os.pwrite(self._file.fileno(), values, self._at(row, name, start)), values, "written")
            except OSError as error:
                raise UserError(f"{self._folder}: the server's models cannot be written: {error}.") from error

    def _reserve(self, name: str, count: int) -> None:
        before = self._memory.get(name)
        have = 0 if before is None else len(before)
        if count > have:
            expected = self.layout[name]
            grown: NDArray = np.empty((max(count, 2 * have, FIRST_ROWS), int(np.prod(expected.shape))), expected.dtype)
            if before is not None:
                grown[:have] = before
            self._memory[name] = grown

    def _at(self, row: int, name: str, column: int) -> int:
        return row * self._row_bytes + self._offsets[name] + column * self.layout[name].dtype.itemsize


class Storage:
    """Gives out `Rows`: in memory as long as that is enough for all of them, then on disk.

    Args:
        limit: bytes in memory; None: any.
        folder: for those on disk; None: the system's folder for temporary files.
        num_clients: of the run, where it is known.
    """

    def __init__(self, limit: int | None = None, folder: Path | None = None, num_clients: int = 0) -> None:
        self._left, self._folder, self._num_clients = limit, folder or Path(gettempdir()), num_clients

    def rows(self, layout: Mapping[str, Expected], count: int | None = None) -> Rows:
        """Return rows, of which there will be about `count`; None: one for each client.

        Raises:
            UserError: the folder cannot be written.
        """
        count = self._num_clients if count is None else count
        nbytes = count * sum(expected.nbytes for expected in layout.values())
        fits = self.fits(nbytes)
        if nbytes > REPORTED:
            where = "memory" if fits else f"a file in {self._folder}"
            _log.info("the server keeps up to %d models: %.1f GB in %s (state-memory-mb)", count, nbytes / 1e9, where)
        if fits and self._left is not None:
            self._left -= nbytes
        try:
            return Rows(layout, None if fits else self._folder)
        except OSError as error:
            raise UserError(f"out: {self._folder} cannot be written: {error.strerror}.") from error

    def fits(self, nbytes: int) -> bool:
        """Return whether there is room for so many bytes in memory."""
        return self._left is None or nbytes <= self._left


def blocks(layout: Mapping[str, Expected], columns: int) -> Iterator[tuple[str, int, int]]:
    """Yield the arrays of a model, cut into blocks of at most so many numbers: name, start and stop."""
    for name, expected in layout.items():
        size = int(np.prod(expected.shape))
        yield from ((name, start, min(start + columns, size)) for start in range(0, size, columns))


def _check_whole(moved: int, values: NDArray, verb: str) -> None:
    if moved != values.nbytes:
        raise OSError(f"{moved} of {values.nbytes} bytes were {verb}")
