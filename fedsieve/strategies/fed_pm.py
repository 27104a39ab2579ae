"""Server half of FedPM (Isik et al., ICLR 2023, arXiv 2209.15328).

The paper: "Sparse Random Networks for Communication-Efficient Federated Learning".
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from fedsieve.algorithm import Algorithm
from fedsieve.client.fed_pm import FedPMConfig, FedPMTrainer
from fedsieve.masks.binary import fold, levels
from fedsieve.masks.codec import decode, max_code_bytes
from fedsieve.masks.frozen import freeze_
from fedsieve.masks.groups import groups_of
from fedsieve.models import build
from fedsieve.strategies.base import FederatedStrategy
from fedsieve.strategies.screening import ClientReply, Expected
from fedsieve.wire import Arrays, NDArray

EPSILON = 0.01
"""θ stays this far from 0 and 1, so that its logit is finite; the paper's code bounds uploaded masks so."""


class FedPM(FederatedStrategy[FedPMConfig]):
    """Send how likely each weight is to be kept, θ, as float32; receive masks drawn from the clients' own θ.

    Algorithm 2: α ← α + Σ_k m_k, β ← β + K - Σ_k m_k, θ = (α - 1) / (α + β - 2), the mode of Beta(α, β); both begin
    anew at λ0 before each round in which that is due. Masks count alike, however many examples a client has. Ours: θ is
    bounded by `EPSILON`, the first θ is 0.5, and rounds without a client that has trained do not count.
    """

    def initialise(self, initial: Arrays) -> None:
        """Begin with θ = 0.5 for every weight."""
        network = build(self.run, self.shape)
        self.frozen = freeze_(network, self.settings.init, self.run.seed, self.run.frozen_gain)
        self.groups = groups_of(network)
        self.reset = self.settings.reset or math.ceil(1 / self.run.fraction_train - 1e-9)
        self.combined = 0
        self.alpha = self.beta = np.full(len(self.groups), self.settings.prior)
        self._broadcast(np.full(len(self.groups), 0.5))

    def arrays_for(self, client: int) -> Arrays:
        """Return θ."""
        return self.sent

    def expected(self) -> Mapping[str, Expected]:
        """A reply holds one code."""
        return {"mask": Expected.up_to(max_code_bytes(self.theta.size), np.uint8)}

    def unpack(self, client: int, arrays: Arrays) -> Arrays:
        """Decode the mask: bits, 1 for a weight that is kept."""
        return {"mask": np.packbits(decode(arrays["mask"], self.levels, self.groups))}

    def combine(self, replies: Sequence[ClientReply]) -> None:
        """Update the Beta distributions by the masks, and θ with them."""
        if self.combined % self.reset == 0:
            self.alpha = self.beta = np.full_like(self.alpha, self.settings.prior)
        self.combined += 1
        kept = np.zeros(self.theta.size)
        for reply in replies:
            kept += np.unpackbits(reply.arrays["mask"], count=kept.size)
        self.alpha, self.beta = self.alpha + kept, self.beta + (len(replies) - kept)
        self._broadcast((self.alpha - 1) / (self.alpha + self.beta - 2))

    def global_model(self) -> Arrays:
        """Return w ⊙ [θ ≥ 0.5], the likeliest network, where the paper draws one."""
        likeliest = fold(self.frozen, torch.from_numpy(self.theta >= 0.5))
        return {name: tensor.numpy() for name, tensor in likeliest.items()}

    def server_arrays(self) -> Arrays:
        """Return θ, α, β and how many rounds were combined; the weights follow from the seed."""
        return {"theta": self.theta, "alpha": self.alpha, "beta": self.beta, "combined": np.array(self.combined)}

    def restore(self, arrays: Arrays) -> None:
        """Go on with θ, α and β."""
        self.alpha, self.beta, self.combined = arrays["alpha"], arrays["beta"], int(arrays["combined"])
        self._broadcast(arrays["theta"])

    def _broadcast(self, theta: NDArray) -> None:
        self.theta = np.clip(theta, EPSILON, 1 - EPSILON).astype(np.float32)
        self.levels = levels(self.theta)
        self.sent: Arrays = {"theta": self.theta}


ALGORITHM = Algorithm(
    summary="the chance of every frozen weight to be kept, learnt from random masks (Isik et al., ICLR 2023)",
    config=FedPMConfig,
    strategy=FedPM,
    trainer=FedPMTrainer,
    defaults={"graph": {"local-epochs": 20, "lr": 0.1}, "images": {"local-epochs": 5, "lr": 0.1}},
)
