"""Server half of FedMask (Li et al., SenSys 2021).

The paper: "FedMask: Joint Computation and Communication-Efficient Personalized Federated Learning via Heterogeneous
Masking".
"""

import copy
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from pydantic import BaseModel
from torch import nn

from fedsieve import seeds
from fedsieve.allowed import check_arguments
from fedsieve.contract import Arrays, Expected, NDArray, Replies, Setting
from fedsieve.masks.binary import flatten
from fedsieve.masks.family import MaskLayout, family_of, refuse_static
from fedsieve.masks.frozen import freeze_
from fedsieve.masks.groups import groups_of
from fedsieve.masks.names import Init
from fedsieve.masks.planes import decode_letters, max_letters_bytes, pack_letters, unpack_letters
from fedsieve.protocols.fed_mask import FedMaskConfig
from fedsieve.strategies.mixing import size_weights
from fedsieve.strategy import FederatedStrategy


class FedMask(FederatedStrategy):
    """Send the mean mask and where masks overlap; receive masks, one bit a weight at most.

    From the paper: masks are averaged where they overlap, and elsewhere each device keeps its own. Ours: a weight is in
    the overlap if at least two of a round's masks keep it, since without the paper's pruning on the device all masks
    cover all weights; the mean is over all of the round's masks, weighted by the number of training examples. It is
    sent as float32, unrounded, with one bit a weight for the overlap. A client that has no mask yet takes all of it.
    With another family than the paper's, a mask keeps a weight where its entry is not 0.

    Args:
        model: the network; of it only the shapes matter, as its weights are drawn from the seed.
        seed: every party draws the frozen weights from it.
        mask: the family of masks.
        init: how the frozen weights are drawn.
        frozen_gain: how large they are, as a multiple of He's; 0: 1.
        flower: arguments of `fedsieve.strategy.FederatedStrategy`, such as `fraction_train`.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        seed: int = 42,
        mask: str = "binary",
        init: Init = "kaiming-normal",
        frozen_gain: float = 0.0,
        **flower: Any,
    ) -> None:
        check_arguments(FedMaskConfig, {"init": init, "frozen_gain": frozen_gain})
        super().__init__(**flower)
        self.network, self.seed, self.init, self.frozen_gain = model, seed, init, frozen_gain
        self.family = family_of("mask", mask, refuse_static)

    @classmethod
    def for_run(cls, setting: Setting, keys: BaseModel, **others: Any) -> Self:
        """Return the strategy of a run, over the run's network."""
        return super().for_run(setting, keys, model=setting.network(), seed=setting.seed, **others)

    def begin(self, initial: Arrays) -> None:
        """Begin where the family does, {0,1} with masks of ones."""
        network = copy.deepcopy(self.network)
        self.frozen = freeze_(network, self.init, self.seed, self.frozen_gain)
        self.groups, self.layout = groups_of(network), MaskLayout.of_network(network)
        layers = {name: self.frozen[name] for name in self.layout.shapes}
        begins = flatten(self.family.initial(layers, seeds.random_state(self.seed, "masks")))
        self._send(self.family.uncentred(begins).numpy(), np.ones(len(begins), dtype=np.bool_))

    def broadcast(self, client: int, acknowledged: bool) -> Arrays:
        """Return the mean mask and the overlap."""
        return self.sent

    def expected(self) -> Mapping[str, Expected]:
        """A reply holds one code."""
        return {"mask": Expected.up_to(max_letters_bytes(self.mean.size, len(self.family.alphabet)), np.uint8)}

    def unpack(self, client: int, arrays: Arrays) -> Arrays:
        """Decode the mask, and pack its letters."""
        letters = decode_letters(arrays["mask"], self.levels, self.groups)
        self.layout.check(self.family, self.family.entries(letters))
        return {"mask": pack_letters(letters, len(self.family.alphabet))}

    def combine(self, replies: Replies) -> None:
        """Take the mean of the masks, and find where at least two keep a weight."""
        alphabet = np.asarray(self.family.alphabet)
        shares = size_weights(replies.num_examples)[0]
        mean, keeping = np.zeros(self.mean.size), np.zeros(self.mean.size, dtype=np.int64)
        for share, reply in zip(shares, replies, strict=True):
            mask = alphabet[unpack_letters(reply.arrays["mask"], mean.size, len(alphabet))]
            mean += share * mask
            keeping += mask != 0
        self._send(mean.astype(np.float32), keeping >= 2)

    def global_model(self) -> Arrays:
        """Return w ⊙ the mask of the mean; of {0,1} what at least half of the last round's clients, by size, keep."""
        mask = self.layout.values(self.family, torch.from_numpy(self.family.centred(self.mean)))
        folded = {name: self.frozen[name] * entries for name, entries in self.layout.split(mask).items()}
        return {name: tensor.numpy() for name, tensor in (self.frozen | folded).items()}

    def state(self) -> Arrays:
        """Return the mean mask and the overlap; the weights follow from the seed."""
        return self.sent

    def load_state(self, arrays: Arrays) -> None:
        """Send this mean mask and this overlap."""
        overlap = np.unpackbits(arrays["overlap"], count=arrays["mean"].size).view(np.bool_)
        self._send(arrays["mean"], overlap)

    def _send(self, mean: NDArray, overlap: NDArray) -> None:
        self.mean, self.levels = mean, self.family.levels(mean)
        self.sent: Arrays = {"mean": mean, "overlap": np.packbits(overlap)}
