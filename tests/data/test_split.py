import pytest
import torch
from torch_geometric.data import Data

from fedsieve.data.split import MASKS, Split, random_split
from fedsieve.errors import UserError


def graph(y: list[int]) -> Data:
    return Data(x=torch.zeros(len(y), 1), y=torch.tensor(y), edge_index=torch.zeros(2, 0, dtype=torch.long))


def test_sizes_are_rounded_and_validation_gets_the_rest():
    # 8 nodes: 0.2 * 8 = 1.6 -> 2 for training, 0.4 * 8 = 3.2 -> 3 for testing, 3 remain
    data = random_split(graph([0, 1] * 4), Split(0.2, 0.4), seed=1)
    assert [int(data[name].sum()) for name in MASKS] == [2, 3, 3]
    # 9 nodes: 1.8 -> 2, 3.6 -> 4, 3 remain: here validation and test differ
    data = random_split(graph([0, 1, 2] * 3), Split(0.2, 0.4), seed=1)
    assert [int(data[name].sum()) for name in MASKS] == [2, 3, 4]


def test_each_labelled_node_is_in_one_mask_and_others_in_none():
    y = [0, -1, 1, 1, -1, 0, 1, 0, 1, 0]
    data = random_split(graph(y), Split(0.3, 0.3), seed=5)
    assert sum(data[name].int() for name in MASKS).tolist() == [int(label >= 0) for label in y]


def test_the_seed_alone_decides():
    first = random_split(graph([0, 1] * 50), Split(), seed=3)
    torch.manual_seed(99)
    again = random_split(graph([0, 1] * 50), Split(), seed=3)
    other = random_split(graph([0, 1] * 50), Split(), seed=4)
    assert torch.equal(first.train_mask, again.train_mask)
    assert torch.equal(first.test_mask, again.test_mask)
    assert not torch.equal(first.train_mask, other.train_mask)


def test_the_given_graph_is_left_alone():
    data = graph([0, 1] * 5)
    random_split(data, Split(), seed=1)
    assert "train_mask" not in data


@pytest.mark.parametrize(("train", "val"), [(0, 0.5), (0.5, 0), (0.6, 0.4), (-0.1, 0.4), (float("nan"), 0.4)])
def test_an_impossible_split_is_refused(train: float, val: float):
    with pytest.raises(UserError, match=f"train {train:g} and val {val:g} is impossible.*above 0.*below 1"):
        Split(train, val)
