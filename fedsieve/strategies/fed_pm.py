"""Server half of FedPM (Isik et al., ICLR 2023, arXiv 2209.15328).

The paper: "Sparse Random Networks for Communication-Efficient Federated Learning".
"""

import copy
import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from pydantic import BaseModel
from torch import nn

from fedsieve.allowed import check_arguments
from fedsieve.contract import Arrays, Expected, NDArray, Replies, Setting
from fedsieve.masks.binary import fold, levels
from fedsieve.masks.codec import decode, max_code_bytes
from fedsieve.masks.frozen import freeze_
from fedsieve.masks.groups import groups_of
from fedsieve.masks.names import Init
from fedsieve.protocols.fed_pm import FedPMConfig
from fedsieve.strategy import FederatedStrategy

EPSILON = 0.01
"""θ stays this far from 0 and 1, so that its logit is finite; the paper's code bounds uploaded masks so."""


class FedPM(FederatedStrategy):
    """Send how likely each weight is to be kept, θ, as float32; receive masks drawn from the clients' own θ.

    Algorithm 2: α ← α + Σ_k m_k, β ← β + K - Σ_k m_k, θ = (α - 1) / (α + β - 2), the mode of Beta(α, β); both begin
    again at λ0 before each round where that is due. Masks count alike, however many examples a client has. Ours: θ is
    bounded by `EPSILON`, the first θ is 0.5, and rounds without a client that has trained do not count.

    Args:
        model: the network; of it only the shapes matter, as its weights are drawn from the seed.
        seed: every party draws the frozen weights from it.
        init: how the frozen weights are drawn.
        frozen_gain: how large they are, as a multiple of He's; 0: 1.
        prior: λ0.
        reset: rounds after which α and β begin again at λ0; 0: 1 / fraction_train, rounded up.
        flower: arguments of `fedsieve.strategy.FederatedStrategy`, such as `fraction_train`.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        seed: int = 42,
        init: Init = "signed-constant",
        frozen_gain: float = 0.0,
        prior: float = 1.0,
        reset: int = 0,
        **flower: Any,
    ) -> None:
        check_arguments(FedPMConfig, {"init": init, "frozen_gain": frozen_gain, "prior": prior, "reset": reset})
        super().__init__(**flower)
        self.network, self.seed, self.init, self.frozen_gain = model, seed, init, frozen_gain
        self.prior, self.reset = prior, reset or math.ceil(1 / self.fraction_train - 1e-9)

    @classmethod
    def for_run(cls, setting: Setting, keys: BaseModel, **others: Any) -> Self:
        """Return the strategy of a run, over the run's network."""
        return super().for_run(setting, keys, model=setting.network(), seed=setting.seed, **others)

    def begin(self, initial: Arrays) -> None:
        """Begin with θ = 0.5 for every weight."""
        network = copy.deepcopy(self.network)
        self.frozen = freeze_(network, self.init, self.seed, self.frozen_gain)
        self.groups = groups_of(network)
        self.combined = 0
        self.alpha = self.beta = np.full(len(self.groups), self.prior)
        self._send(np.full(len(self.groups), 0.5))

    def broadcast(self, client: int, acknowledged: bool) -> Arrays:
        """Return θ."""
        return self.sent

    def expected(self) -> Mapping[str, Expected]:
        """A reply holds one code."""
        return {"mask": Expected.up_to(max_code_bytes(self.theta.size), np.uint8)}

    def unpack(self, client: int, arrays: Arrays) -> Arrays:
        """Decode the mask: bits, 1 for a weight that is kept."""
        return {"mask": np.packbits(decode(arrays["mask"], self.levels, self.groups))}

    def combine(self, replies: Replies) -> None:
        """Update the Beta distributions by the masks, and θ with them."""
        if self.combined % self.reset == 0:
            self.alpha = self.beta = np.full_like(self.alpha, self.prior)
        self.combined += 1
        counts = np.zeros(self.theta.size)
        for reply in replies:
            counts += np.unpackbits(reply.arrays["mask"], count=counts.size)
        self.alpha, self.beta = self.alpha + counts, self.beta + (len(replies) - counts)
        self._send((self.alpha - 1) / (self.alpha + self.beta - 2))

    def global_model(self) -> Arrays:
        """Return w ⊙ [θ ≥ 0.5], the likeliest network, where the paper draws one."""
        likeliest = fold(self.frozen, torch.from_numpy(self.theta >= 0.5))
        return {name: tensor.numpy() for name, tensor in likeliest.items()}

    def state(self) -> Arrays:
        """Return θ, α, β and how many rounds were combined; the weights follow from the seed."""
        return {"theta": self.theta, "alpha": self.alpha, "beta": self.beta, "combined": np.array(self.combined)}

    def load_state(self, arrays: Arrays) -> None:
        """Continue with θ, α and β."""
        self.alpha, self.beta, self.combined = arrays["alpha"], arrays["beta"], int(arrays["combined"])
        self._send(arrays["theta"])

    def _send(self, theta: NDArray) -> None:
        self.theta = np.clip(theta, EPSILON, 1 - EPSILON).astype(np.float32)
        self.levels = levels(self.theta)
        self.sent: Arrays = {"theta": self.theta}
