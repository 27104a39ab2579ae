from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsieve.server.magnitude import SLIGHT, Norms, find_out_of_proportion, magnitudes

NORMS = st.lists(st.floats(0, 1e9), min_size=2, max_size=12)


def test_magnitudes_are_those_of_floating_values():
    arrays = {"w": np.array([[3, 0], [0, 4]], np.float32), "b": np.array([12.0]), "bits": np.full(9, 255, np.uint8)}
    assert magnitudes(arrays) == {"w": 5, "b": 12}
    assert magnitudes({"bits": np.full(9, 255, np.uint8), "w": np.zeros((0, 3), np.float32)}) == {"w": 0}


@pytest.mark.parametrize(
    ("norms", "sent", "found"),
    [
        ([1, 100], [1, 1], {1}),
        ([0, 1], [1, 1], set()),  # a client that answers zeros gets no other rejected
        ([0, 0, 1], [0.01, 0.01, 0.01], {2}),
        ([1, 100, 100], [1, 1, 1], {1, 2}),  # a majority is held against the honest one
        ([1, 10, 2], [1, 1, 1], set()),
        ([1, 10.01, 1], [1, 1, 1], {1}),
        ([1, 20, 1], [1, 2, 1], set()),
        ([1, 1, 1, 1, 50], [0, 0, 0, 0, 0], {4}),
        ([9], [1], set()),
        ([11], [1], {0}),  # the only reply is held against what was sent
        ([1000], [0], set()),
    ],
)
def test_a_reply_is_held_against_the_others_and_what_was_sent(norms: list[float], sent: list[float], found: set[int]):
    assert set(find_out_of_proportion(whole(norms), whole(sent), limit=10)) == found
    assert find_out_of_proportion(whole(norms), whole(sent), limit=0) == {}


def whole(norms: Sequence[float]) -> dict[int, Norms]:
    return {client: {"w": norm} for client, norm in enumerate(norms)}


def test_one_array_out_of_proportion_is_enough_and_a_slight_one_is_not():
    usual = {"w": 20.0, "bias": 0.1}
    sent = {client: {"w": 20.0, "bias": 0.0} for client in range(3)}
    spoilt = find_out_of_proportion({0: usual, 1: usual | {"bias": 10 * SLIGHT * 20 + 1}, 2: usual}, sent, limit=10)
    assert spoilt == {1: "array bias has a norm of 11, more than 10 times what is usual, 1 (norm-limit)"}
    assert find_out_of_proportion({0: usual, 1: usual | {"bias": 10 * SLIGHT * 20 - 1}, 2: usual}, sent, limit=10) == {}
    assert set(find_out_of_proportion({0: usual, 1: {"w": 201.0, "bias": 0.1}, 2: usual}, sent, limit=10)) == {1}


def test_the_reason_names_the_figures_and_the_key():
    told = find_out_of_proportion(whole([2.0, 2.5, 250.0]), whole([1.0, 1.0, 1.0]), limit=10)
    assert told == {2: "its values have a norm of 250, more than 10 times what is usual, 2 (norm-limit)"}


@given(NORMS, st.floats(1, 100))
def test_replies_within_the_limit_of_each_other_are_all_taken(norms: list[float], limit: float):
    smallest = min(norms)
    near = whole([min(norm, smallest * limit) for norm in norms])
    assert find_out_of_proportion(near, whole([0.0] * len(norms)), limit) == {}


@given(NORMS, st.floats(1, 100), st.floats(1, 1e3))
def test_units_and_the_order_of_arrival_change_nothing(norms: list[float], limit: float, sent: float):
    at = [sent] * len(norms)
    found = set(find_out_of_proportion(whole(norms), whole(at), limit))
    scaled = dict(reversed(whole([4 * norm for norm in norms]).items()))
    assert set(find_out_of_proportion(scaled, whole([4 * norm for norm in at]), limit)) == found
