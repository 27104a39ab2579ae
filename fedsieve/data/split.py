"""The random split of a graph's nodes into training, validation and test nodes."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch_geometric.data import Data
from torch_geometric.utils import index_to_mask

from fedsieve.errors import UserError
from fedsieve.seeds import random_state

MASKS = ("train_mask", "val_mask", "test_mask")


@dataclass(frozen=True)
class Split:
    """The fractions of the labelled nodes used for training and validation; the rest is for testing.

    Raises `UserError` unless each of the three is above 0.
    """

    train: float = 0.2
    val: float = 0.4

    def __post_init__(self) -> None:
        if not (self.train > 0 and self.val > 0 and self.train + self.val < 1):
            raise UserError(
                f"A split of train {self.train:g} and val {self.val:g} is impossible: "
                "each must be above 0 and their sum below 1, for the rest is the test set."
            )


def random_split(data: Data, split: Split, seed: int) -> Data:
    """Return the graph with new masks: one seeded random order of all labelled nodes, cut in three.

    As in FED-PUB's code the sizes of the training and test sets are rounded and validation gets the rest. Nodes with
    the label -1 are in no mask.
    """
    labelled = np.flatnonzero(data.y.numpy() >= 0)
    order = torch.from_numpy(random_state(seed, "split").permutation(labelled))
    train, test = round(split.train * len(order)), round((1 - split.train - split.val) * len(order))
    out = copy.copy(data)
    parts = torch.tensor_split(order, (train, train + test))
    for name, nodes in zip(("train_mask", "test_mask", "val_mask"), parts, strict=True):
        out[name] = index_to_mask(nodes, size=data.num_nodes)
    return out
