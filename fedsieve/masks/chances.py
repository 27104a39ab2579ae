"""How likely each flip is, learnt in whole numbers from the flips before it, alike at both ends.

A flip is a sign that is not the broadcast's. Entries of one bucket of |broadcast| flip about as often as one another;
so do entries of one group (see `groups`), which flip more often, or less, than their buckets foretell. A group's level
is by how much it has done so: its flips over the sum of its entries' bucket chances, in quarters. The chance is that of
the pair (bucket, level), which leans on the bucket's until the pair has been seen often, as the bucket's leans on that
of all. Nothing of it is sent.

Entries come in turns, the first of every group and then the second of every group, so that all groups are known soon.
Chances are brought up to date after every sixteenth of what has been seen, so that a million entries take 153 steps.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fedsieve.masks.groups import Groups

SCALE = 1 << 20
"""A chance is k/SCALE for a whole number k: exact in floating point, so that every device has the same model."""

BUCKETS = 8
LEVELS = 12

_BUCKET_LEANS = 2
_PAIR_LEANS = 16
"""As many imagined entries are what is leant on; half or twice as many change real codes by less than 1 %."""

_HALF = SCALE // 2
"""Half a flip is added to both sides of a group's ratio."""

_LEAST_STEP = _STEP_SHARE = 16


class Chances:
    """The chances of the flips of one mask: ask for those of each of `steps` in turn, and let it `learn` the flips.

    Args:
        broadcast: the mean sign times 127, shape [n].
        groups: the group of each entry, shape [n].

    Attributes:
        order: the entries in the order of coding, shape [n].
        steps: where each step begins in `order`, and where it ends.
    """

    def __init__(self, broadcast: NDArray[np.int8], groups: Groups) -> None:
        self.order = _take_turns(groups)
        self.steps = _make_steps(len(groups))
        self._bucket = buckets(broadcast)[self.order]
        self._group = groups[self.order].astype(np.intp)
        self._groups = int(self._group.max(initial=0)) + 1
        self._flipped = np.zeros(self._groups, np.int64)
        self._expected = np.zeros(self._groups, np.int64)
        self._seen = np.zeros((2, BUCKETS, LEVELS), np.int64)

    def of(self, start: int, end: int) -> NDArray[np.int64]:
        """Return the chances of the flips from `start` to `end`, each out of `SCALE`."""
        flips, seen = self._seen[1], self._seen.sum(axis=0)
        of_all = SCALE * (2 * flips.sum() + 1) // (2 * seen.sum() + 2)
        of_bucket = (SCALE * flips.sum(axis=1) + _BUCKET_LEANS * of_all) // (seen.sum(axis=1) + _BUCKET_LEANS)
        of_pair = (SCALE * flips + _PAIR_LEANS * of_bucket[:, None]) // (seen + _PAIR_LEANS)
        level = np.minimum(4 * (SCALE * self._flipped + _HALF) // (self._expected + _HALF), LEVELS - 1)
        self._step = slice(start, end)
        self._of_bucket = of_bucket
        self._pair = LEVELS * self._bucket[start:end] + level[self._group[start:end]]
        of_entries: NDArray[np.int64] = np.clip(of_pair, 1, SCALE - 1).ravel()[self._pair]
        return of_entries

    def learn(self, flips: NDArray[np.bool_]) -> None:
        """Count the flips whose chances were asked for last."""
        bucket, group = self._bucket[self._step], self._group[self._step]
        pairs = np.bincount(self._pair + BUCKETS * LEVELS * flips, minlength=self._seen.size)
        self._seen += pairs.reshape(self._seen.shape)
        self._flipped += np.bincount(group[flips], minlength=self._groups)
        # Sums of whole numbers below 2^53 are exact in floating point, in whatever order.
        expected = np.bincount(group, self._of_bucket.astype(np.float64)[bucket], self._groups)
        self._expected += expected.astype(np.int64)


def buckets(broadcast: NDArray[np.int8]) -> NDArray[np.intp]:
    """Return the bucket of |broadcast| of each entry, 16 wide, from 0 to 7."""
    numbers: NDArray[np.uint8] = np.minimum(np.abs(broadcast).view(np.uint8) >> 4, BUCKETS - 1)
    return numbers.astype(np.intp)


def _take_turns(groups: Groups) -> NDArray[np.intp]:
    """Return the entries' places: the first entry of each group by its number, the second of each, and so on."""
    by_group = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups)
    turn = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    # A stable sort of numbers of 16 bits is a radix sort.
    return by_group[np.argsort(turn.astype(np.min_scalar_type(int(sizes.max(initial=0)))), kind="stable")]


def _make_steps(n: int) -> list[tuple[int, int]]:
    ends = [0]
    while ends[-1] < n:
        ends.append(min(n, ends[-1] + max(_LEAST_STEP, ends[-1] // _STEP_SHARE)))
    return list(pairwise(ends))
