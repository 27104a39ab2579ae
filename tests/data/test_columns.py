from typing import Any

import pytest

from fedsieve.data.columns import find_holders
from fedsieve.errors import UserError


@pytest.mark.parametrize(
    ("values", "of", "names"),
    [
        (["w10", "w2", "w10", ""], [1, 0, 1, -1], ("w2", "w10")),
        ([7, 3, -1, 7], [1, 0, -1, 1], ("3", "7")),
        ([2.0, 1.0, float("nan"), 2.0], [1, 0, -1, 1], ("1", "2")),
        ([b"b", b"a", None, b"b"], [1, 0, -1, 1], ("a", "b")),
    ],
)
def test_each_value_is_a_client_in_natural_order(values: list[Any], of: list[int], names: tuple[str, ...]):
    holders = find_holders("d", "client", values, 4)
    assert holders.of.tolist() == of
    assert holders.names == names


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([1, 2, 3], "d: client has 3 values; allowed: 4, one for each example"),
        ([-1] * 4, "d: client names no client"),
        ([0.5] * 4, "d: client holds 0.5; allowed: a whole number or a word"),
        ([float("inf")] * 4, "d: client holds inf;"),
        ([[1]] * 4, r"d: client holds \[1\];"),
    ],
)
def test_a_column_that_names_no_clients_is_refused(values: list[Any], sentence: str):
    with pytest.raises(UserError, match=sentence):
        find_holders("d", "client", values, 4)
