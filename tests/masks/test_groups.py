import numpy as np
import torch

from fedsieve.contract import Shape
from fedsieve.masks.attach import find_transposed
from fedsieve.masks.groups import number_groups
from fedsieve.masks.survivors import Survivors
from fedsieve.models import build
from tests.helpers import config

WEIGHTS = {
    "a": torch.tensor([[1.0, -2.0, 0.5], [-1.0, -1.0, 3.0]]),
    "b": torch.tensor([[[[-1.0, 1.0]], [[1.0, 1.0]]]]),
    "c": torch.tensor([[0.0], [2.0]]),
}


def test_a_group_is_a_unit_and_a_sign() -> None:
    np.testing.assert_array_equal(number_groups(WEIGHTS), [1, 0, 1, 2, 2, 3, 4, 5, 5, 5, 6, 9])
    assert number_groups(WEIGHTS).dtype == np.uint8


def test_a_unit_is_an_output_also_where_the_weight_is_in_x_out() -> None:
    found = number_groups(WEIGHTS, transposed={"a", "b"})
    # a has outputs 0 to 2, b, of shape 1 x 2 x 1 x 2 now, 3 and 4; c 5 and 6
    np.testing.assert_array_equal(found, [1, 2, 5, 0, 2, 5, 6, 7, 9, 9, 10, 13])


def test_the_layers_of_a_gcn_are_in_x_out() -> None:
    run = config(dataset="digits-knn", algorithm="hide-n-seek", hidden_dim=4)
    assert find_transposed(build(run, Shape((5,), 3))) == {"conv1.weight", "conv2.weight"}


def test_no_layer_has_no_group() -> None:
    assert number_groups({}).shape == (0,)


def test_many_units_are_told_apart() -> None:
    for units in (127, 128, 129, 32_767, 32_768, 40_000):
        found = number_groups({"a": torch.ones(1, 1), "b": torch.ones(units, 1)})
        np.testing.assert_array_equal(found, 2 * np.arange(units + 1) + 1)


def test_survivors_keep_their_groups() -> None:
    keep = {
        "a": torch.tensor([[True, False, True], [False, True, False]]),
        "c": torch.tensor([[False], [True]]),
    }
    all_groups = number_groups({name: WEIGHTS[name] for name in keep})
    np.testing.assert_array_equal(Survivors(keep).take(all_groups), [1, 1, 2, 7])
