"""Server half of FedMask (Li et al., SenSys 2021).

The paper: "FedMask: Joint Computation and Communication-Efficient Personalized Federated Learning via Heterogeneous
Masking".
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from fedsieve import seeds
from fedsieve.algorithm import Algorithm
from fedsieve.client.fed_mask import FedMaskConfig, FedMaskTrainer
from fedsieve.masks.binary import flatten
from fedsieve.masks.family import Layout
from fedsieve.masks.frozen import freeze_
from fedsieve.masks.groups import groups_of
from fedsieve.masks.planes import decode_letters, max_letters_bytes, pack_letters, unpack_letters
from fedsieve.models import build
from fedsieve.strategies.base import FederatedStrategy
from fedsieve.strategies.mixing import size_weights
from fedsieve.strategies.screening import ClientReply, Expected
from fedsieve.wire import Arrays, NDArray


class FedMask(FederatedStrategy[FedMaskConfig]):
    """Send the mean mask and where masks overlap; receive masks, one bit a weight at most.

    From the paper: masks are averaged where they overlap, and elsewhere each device keeps its own. Ours: a weight is in
    the overlap if at least two of a round's masks keep it, since without the paper's pruning on the device all masks
    cover all weights; the mean is over all of the round's masks, weighted by the number of training examples. It is
    sent as float32, unrounded, with one bit a weight for the overlap. A client that has no mask yet takes all of it.
    With another family than the paper's, a mask keeps a weight where its entry is not 0.
    """

    def initialise(self, initial: Arrays) -> None:
        """Begin where the family does, {0,1} with masks of ones."""
        network = build(self.run, self.shape)
        self.frozen = freeze_(network, self.settings.init, self.run.seed, self.run.frozen_gain)
        self.groups, self.family, self.layout = groups_of(network), self.settings.family, Layout.of(network)
        layers = {name: self.frozen[name] for name in self.layout.shapes}
        begins = flatten(self.family.initial(layers, seeds.random_state(self.run.seed, "masks")))
        self._broadcast(self.family.uncentred(begins).numpy(), np.ones(len(begins), dtype=np.bool_))

    def arrays_for(self, client: int) -> Arrays:
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

    def combine(self, replies: Sequence[ClientReply]) -> None:
        """Take the mean of the masks, and find where at least two keep a weight."""
        alphabet = np.asarray(self.family.alphabet)
        shares = size_weights([reply.num_examples for reply in replies])[0]
        mean, keeping = np.zeros(self.mean.size), np.zeros(self.mean.size, dtype=np.int64)
        for share, reply in zip(shares, replies, strict=True):
            mask = alphabet[unpack_letters(reply.arrays["mask"], mean.size, len(alphabet))]
            mean += share * mask
            keeping += mask != 0
        self._broadcast(mean.astype(np.float32), keeping >= 2)

    def global_model(self) -> Arrays:
        """Return w ⊙ the mask of the mean; of {0,1} what at least half of the last round's clients, by size, keep."""
        mask = self.layout.values(self.family, torch.from_numpy(self.family.centred(self.mean)))
        folded = {name: self.frozen[name] * entries for name, entries in self.layout.split(mask).items()}
        return {name: tensor.numpy() for name, tensor in (self.frozen | folded).items()}

    def server_arrays(self) -> Arrays:
        """Return the mean mask and the overlap; the weights follow from the seed."""
        return self.sent

    def restore(self, arrays: Arrays) -> None:
        """Send this mean mask and this overlap."""
        overlap = np.unpackbits(arrays["overlap"], count=arrays["mean"].size).view(np.bool_)
        self._broadcast(arrays["mean"], overlap)

    def _broadcast(self, mean: NDArray, overlap: NDArray) -> None:
        self.mean, self.levels = mean, self.family.levels(mean)
        self.sent: Arrays = {"mean": mean, "overlap": np.packbits(overlap)}


ALGORITHM = Algorithm(
    summary="a personal {0,1} mask over frozen weights, shared where masks overlap (Li et al., SenSys 2021)",
    config=FedMaskConfig,
    strategy=FedMask,
    trainer=FedMaskTrainer,
    defaults={"graph": {"local-epochs": 20}, "images": {"local-epochs": 5}},
)
