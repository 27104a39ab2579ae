from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedsieve.masks.chances import SCALE, Chances, buckets


def learnt(broadcast: NDArray[np.int8], groups: NDArray[np.uint8], flips: NDArray[np.bool_]) -> list[int]:
    """The chances of `flips`, in the order of coding."""
    chances, found = Chances(broadcast, groups), []
    for start, end in chances.steps:
        found += chances.of(start, end).tolist()
        chances.learn(flips[chances.order][start:end])
    return found


def by_the_entry(broadcast: NDArray[np.int8], groups: NDArray[np.uint8], flips: NDArray[np.bool_]) -> list[int]:
    """The same, one entry after another and in Python's own numbers."""
    turns: Counter[int] = Counter()
    places = []
    for place, group in enumerate(groups.tolist()):
        places.append((turns[group], group, place))
        turns[group] += 1
    order = [place for _, _, place in sorted(places)]
    seen: dict[object, list[int]] = {}
    expected: Counter[int] = Counter()

    def leaning(key: object, count: int, on: int) -> int:
        ones, n = seen.get(key, [0, 0])
        return (SCALE * ones + count * on) // (n + count)

    found: list[int] = []
    while len(found) < len(order):
        start, news = len(found), []
        for place in order[start : start + max(16, start // 16)]:
            group, bucket = int(groups[place]), min(abs(int(broadcast[place])) // 16, 7)
            ones, n = seen.get("all", [0, 0])
            of_bucket = leaning(("bucket", bucket), 2, SCALE * (2 * ones + 1) // (2 * n + 2))
            flipped = seen.get(("group", group), [0, 0])[0]
            level = min(11, 4 * (SCALE * flipped + SCALE // 2) // (expected[group] + SCALE // 2))
            found.append(min(SCALE - 1, max(1, leaning((bucket, level), 16, of_bucket))))
            news.append((bucket, level, group, of_bucket, int(flips[place])))
        for bucket, level, group, of_bucket, flip in news:
            for key in ("all", ("bucket", bucket), ("group", group), (bucket, level)):
                ones, n = seen.get(key, [0, 0])
                seen[key] = [ones + flip, n + 1]
            expected[group] += of_bucket
    return found


@given(st.integers(0, 2**32), st.integers(0, 600), st.sampled_from([1, 2, 30, 200]))
def test_chances_are_those_of_the_rule(seed: int, n: int, group_count: int) -> None:
    generator = np.random.default_rng(seed)
    broadcast = generator.integers(-128, 128, n).astype(np.int8)
    groups = generator.integers(0, group_count, n).astype(np.uint8)
    flips = generator.random(n) < generator.choice([0, 0.05, 0.5, 1], group_count)[groups]
    assert learnt(broadcast, groups, flips) == by_the_entry(broadcast, groups, flips)


def test_chances_by_hand() -> None:
    # 16 entries at a half. Then 4 of 16 have flipped: (2·4 + 1) / (2·16 + 2) of all, on which two of the bucket lean.
    flips = np.array([True] * 4 + [False] * 28)
    found = learnt(np.zeros(32, np.int8), np.zeros(32, np.uint8), flips)
    of_all = SCALE * 9 // 34
    of_bucket = (SCALE * 4 + 2 * of_all) // 18
    # 4 flips where 8 were expected: (4 + 1/2) / (8 + 1/2) is level 2, which nothing had.
    assert found == [SCALE // 2] * 16 + [of_bucket] * 16


def test_a_group_that_flips_more_is_foretold_to() -> None:
    groups = np.repeat([0, 1, 2, 3], 500).astype(np.uint8)
    generator = np.random.default_rng(0)
    flips = generator.random(2000) < np.array([0.02, 0.1, 0.3, 0.9])[groups]
    chances = Chances(np.full(2000, 127, np.int8), groups)
    found = np.array(learnt(np.full(2000, 127, np.int8), groups, flips)) / SCALE
    late = np.arange(2000) >= 1000
    for group, rate in enumerate([0.02, 0.1, 0.3, 0.9]):
        assert found[late & (groups[chances.order] == group)].mean() == pytest.approx(rate, abs=0.06)


def test_entries_come_in_turns() -> None:
    groups = np.array([3, 3, 0, 3, 0, 7], np.uint8)
    np.testing.assert_array_equal(Chances(np.zeros(6, np.int8), groups).order, [2, 0, 5, 4, 1, 3])


@pytest.mark.parametrize("size", [255, 256, 257, 65_536, 65_537])
def test_turns_of_large_groups(size: int) -> None:
    groups = np.repeat([1, 0], size).astype(np.uint8)
    found = Chances(np.zeros(2 * size, np.int8), groups).order
    np.testing.assert_array_equal(found, np.stack([np.arange(size) + size, np.arange(size)], axis=1).ravel())


def test_steps_are_few() -> None:
    for n, count in ((0, 0), (1, 1), (16, 1), (17, 2), (272, 17), (1_000_000, 153)):
        steps = Chances(np.zeros(n, np.int8), np.zeros(n, np.uint8)).steps
        assert [start for start, _ in steps] == [0, *(end for _, end in steps)][: len(steps)]
        assert len(steps) == count
        assert not steps or steps[-1][1] == n


def test_buckets_by_hand() -> None:
    broadcast = np.array([0, 15, -15, 16, -16, 111, -112, 127, -128], np.int8)
    np.testing.assert_array_equal(buckets(broadcast), [0, 0, 0, 1, 1, 6, 7, 7, 7])
