"""Where a round's uploads are until they are combined: in memory or on disk."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from fedsieve.contract import Arrays, Expected, NDArray, Reply
from fedsieve.rows import Rows, Storage


class Uploads:
    """Takes a round's replies as they come; the weights of one are read again when they are needed.

    Weights that are too many for memory are on disk; codes and bits, which are small, stay where they are.

    Args:
        storage: decides where weights are.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._layout: dict[str, Expected] = {}
        self._rows: Rows | None = None
        self._next = 0

    def begin_round(self, expected: Mapping[str, Expected], count: int) -> None:
        """Make room for `count` replies that hold the arrays expected; those of the last round go."""
        layout = {name: one for name, one in expected.items() if np.issubdtype(one.dtype, np.inexact)}
        fits = self._storage.fits(count * sum(one.nbytes for one in layout.values()))
        if fits or not layout:
            self._rows = None
        elif self._rows is None or layout != self._layout:
            self._rows = self._storage.rows(layout, count)
        self._layout, self._next = layout, 0

    def keep(self, reply: Reply) -> Reply:
        """Return the reply, its weights where they have room."""
        weights = {name: array for name, array in reply.arrays.items() if self._has_room(name, array)}
        if self._rows is None or not weights:
            return reply
        row, self._next = self._next, self._next + 1
        self._rows.put(row, weights)
        shapes = {name: array.shape for name, array in weights.items()}
        rest = {name: array for name, array in reply.arrays.items() if name not in weights}
        return replace(reply, arrays=_Stored(self._rows, row, shapes, rest))

    def _has_room(self, name: str, array: NDArray) -> bool:
        """Return whether a row has a place for this array; what `unpack` returns need not be like what was sent."""
        place = self._layout.get(name)
        return place is not None and array.dtype == place.dtype and array.nbytes <= place.nbytes


class _Stored(Mapping[str, NDArray]):
    """A reply's arrays, of which some are on disk."""

    def __init__(self, rows: Rows, row: int, shapes: Mapping[str, tuple[int, ...]], rest: Arrays) -> None:
        self._rows, self._row, self._shapes, self._rest = rows, row, shapes, rest

    def __getitem__(self, name: str) -> NDArray:
        if name in self._rest:
            return self._rest[name]
        shape = self._shapes[name]
        return self.part(name, 0, int(np.prod(shape))).reshape(shape)

    def __iter__(self) -> Iterator[str]:
        return iter((*self._shapes, *self._rest))

    def __len__(self) -> int:
        return len(self._shapes) + len(self._rest)

    def part(self, name: str, start: int, stop: int) -> NDArray:
        """Return a part of an array, flat; see `fedsieve.contract.Partial`."""
        if name in self._rest:
            return self._rest[name].reshape(-1)[start:stop]
        part: NDArray = self._rows.columns([self._row], name, start, stop)[0]
        return part
