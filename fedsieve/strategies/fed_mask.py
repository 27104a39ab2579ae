"""Server half of FedMask (Li et al., SenSys 2021).

The paper: "FedMask: Joint Computation and Communication-Efficient Personalized Federated Learning via Heterogeneous
Masking".
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from fedsieve.algorithm import Algorithm
from fedsieve.client.fed_mask import FedMaskConfig, FedMaskTrainer
from fedsieve.masks.binary import fold, levels
from fedsieve.masks.codec import decode, max_code_bytes
from fedsieve.masks.frozen import freeze_
from fedsieve.masks.groups import groups_of
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
    """

    def initialise(self, initial: Arrays) -> None:
        """Begin with masks of ones."""
        network = build(self.run, self.shape)
        self.frozen = freeze_(network, self.settings.init, self.run.seed)
        self.groups = groups_of(network)
        n = len(self.groups)
        self._broadcast(np.ones(n, dtype=np.float32), np.ones(n, dtype=np.bool_))

    def arrays_for(self, client: int) -> Arrays:
        """Return the mean mask and the overlap."""
        return self.sent

    def expected(self) -> Mapping[str, Expected]:
        """A reply holds one code."""
        return {"mask": Expected.up_to(max_code_bytes(self.mean.size), np.uint8)}

    def unpack(self, client: int, arrays: Arrays) -> Arrays:
        """Decode the mask: bits, 1 for a weight that is kept."""
        return {"mask": np.packbits(decode(arrays["mask"], self.levels, self.groups))}

    def combine(self, replies: Sequence[ClientReply]) -> None:
        """Take the mean of the masks, and find where at least two keep a weight."""
        shares = size_weights([reply.num_examples for reply in replies])[0]
        mean, keeping = np.zeros(self.mean.size), np.zeros(self.mean.size, dtype=np.int64)
        for share, reply in zip(shares, replies, strict=True):
            mask = np.unpackbits(reply.arrays["mask"], count=mean.size)
            mean += share * mask
            keeping += mask
        self._broadcast(mean.astype(np.float32), keeping >= 2)

    def global_model(self) -> Arrays:
        """Return w ⊙ [mean ≥ 0.5]: the weights that at least half of the last round's clients, by size, keep."""
        majority = fold(self.frozen, torch.from_numpy(self.mean >= 0.5))
        return {name: tensor.numpy() for name, tensor in majority.items()}

    def server_arrays(self) -> Arrays:
        """Return the mean mask and the overlap; the weights follow from the seed."""
        return self.sent

    def restore(self, arrays: Arrays) -> None:
        """Send this mean mask and this overlap."""
        overlap = np.unpackbits(arrays["overlap"], count=arrays["mean"].size).view(np.bool_)
        self._broadcast(arrays["mean"], overlap)

    def _broadcast(self, mean: NDArray, overlap: NDArray) -> None:
        self.mean, self.levels = mean, levels(mean)
        self.sent: Arrays = {"mean": mean, "overlap": np.packbits(overlap)}


ALGORITHM = Algorithm(
    summary="a personal {0,1} mask over frozen weights, shared where masks overlap (Li et al., SenSys 2021)",
    config=FedMaskConfig,
    strategy=FedMask,
    trainer=FedMaskTrainer,
    defaults={"graph": {"local-epochs": 20}, "images": {"local-epochs": 5}},
)
