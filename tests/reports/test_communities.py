import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsieve.reports.communities import group_rows
from fedsieve.strategies.mixing import cosine_similarity


def blocks(labels: list[int], inside: float = 0.95, between: float = 0.3) -> np.ndarray:
    same = np.equal.outer(labels, labels)
    return np.where(np.eye(len(labels), dtype=bool), 1.0, np.where(same, inside, between))


def test_rows_that_are_alike_are_neighbours_and_make_up_a_community():
    grouping = group_rows(blocks([0, 1, 2, 0, 1, 2, 0]))
    assert {frozenset(community) for community in grouping.communities} == {
        frozenset({0, 3, 6}),
        frozenset({1, 4}),
        frozenset({2, 5}),
    }
    assert grouping.order == [row for community in grouping.communities for row in community]
    assert grouping.silhouette == pytest.approx((0.7 - 0.05) / 0.7)  # 1 - a/b with a = 0.05, b = 0.7


@pytest.mark.parametrize("matrix", [np.ones((5, 5)), blocks([0, 0, 0, 0]), blocks([0, 1, 2, 3], between=0.9)])
def test_where_all_are_equally_alike_there_are_no_communities(matrix: np.ndarray):
    grouping = group_rows(matrix)
    assert grouping.communities == []
    assert sorted(grouping.order) == list(range(len(matrix)))


def test_two_clients_have_an_order_and_no_communities():
    assert group_rows(blocks([0, 1])).communities == []
    assert group_rows(blocks([0, 1])).order == [0, 1]


@settings(max_examples=20)
@given(st.integers(3, 12), st.integers(0, 2**32 - 1))
def test_communities_do_not_depend_on_the_order_of_the_rows(count: int, seed: int):
    random = np.random.RandomState(seed)
    matrix = cosine_similarity(random.standard_normal((count, 2)))
    order = random.permutation(count)
    one, other = group_rows(matrix), group_rows(matrix[np.ix_(order, order)])
    assert {frozenset(c) for c in one.communities} == {frozenset(order[row] for row in c) for c in other.communities}
    assert sorted(one.order) == sorted(other.order) == list(range(count))
