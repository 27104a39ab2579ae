import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsieve.strategies.magnitude import magnitude, out_of_proportion

NORMS = st.dictionaries(st.integers(0, 50), st.floats(0, 1e9), min_size=2, max_size=12)


def test_a_magnitude_is_that_of_all_floating_values_together():
    arrays = {"w": np.array([[3, 0], [0, 4]], np.float32), "b": np.array([12.0]), "bits": np.full(9, 255, np.uint8)}
    assert magnitude(arrays) == 13
    assert magnitude({"bits": np.full(9, 255, np.uint8), "w": np.zeros((0, 3), np.float32)}) == 0


@pytest.mark.parametrize(
    ("norms", "sent", "found"),
    [
        ([1, 100], [1, 1], {1}),
        ([0, 1], [1, 1], set()),  # a client that answers zeros gets no other left out
        ([0, 0, 1], [0.01, 0.01, 0.01], {2}),
        ([1, 100, 100], [1, 1, 1], {1, 2}),  # a majority is held against the honest one
        ([1, 10, 2], [1, 1, 1], set()),
        ([1, 10.01, 1], [1, 1, 1], {1}),
        ([1, 20, 1], [1, 2, 1], set()),
        ([1, 1, 1, 1, 50], [0, 0, 0, 0, 0], {4}),
        ([1000], [1], set()),
    ],
)
def test_a_reply_is_held_against_the_others_and_what_was_sent(norms: list[float], sent: list[float], found: set[int]):
    told = out_of_proportion(dict(enumerate(norms)), dict(enumerate(sent)), limit=10)
    assert set(told) == found
    assert out_of_proportion(dict(enumerate(norms)), dict(enumerate(sent)), limit=0) == {}


def test_the_reason_names_the_figures_and_the_key():
    told = out_of_proportion({0: 2.0, 3: 250.0, 4: 2.5}, {0: 1.0, 3: 1.0, 4: 1.0}, limit=10)
    reason = (
        "its values have a norm of 250, more than 10 times the 2 of the others and of what it was sent (norm-limit)"
    )
    assert told == {3: reason}


@given(NORMS, st.floats(1, 100))
def test_replies_within_the_limit_of_each_other_are_all_taken(norms: dict[int, float], limit: float):
    smallest = min(norms.values())
    near = {client: min(norm, smallest * limit) for client, norm in norms.items()}
    assert out_of_proportion(near, dict.fromkeys(near, 0.0), limit) == {}


@given(NORMS, st.floats(1, 100), st.floats(1, 1e3))
def test_units_and_the_order_of_arrival_change_nothing(norms: dict[int, float], limit: float, sent: float):
    at = dict.fromkeys(norms, sent)
    found = set(out_of_proportion(norms, at, limit))
    scaled = {client: 4 * norm for client, norm in reversed(norms.items())}
    assert set(out_of_proportion(scaled, dict.fromkeys(norms, 4 * sent), limit)) == found
