"""Client half of FedMask (Li et al., SenSys 2021).

The paper: "FedMask: Joint Computation and Communication-Efficient Personalized Federated Learning via Heterogeneous
Masking".
"""

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from fedsieve.algorithm import AlgorithmConfig, Task, Tensors, TrainResult
from fedsieve.client.mask_result import mask_result
from fedsieve.client.training import fit, load, make_optimizer, metrics, values
from fedsieve.config import RunConfig
from fedsieve.masks.attach import weights
from fedsieve.masks.binary import flatten, unflatten, unpack
from fedsieve.masks.family import Family, Layout, attach_family, family_of, learnt_only
from fedsieve.masks.frozen import Init, freeze_
from fedsieve.masks.groups import groups_of
from fedsieve.masks.planes import unpack_letters


class FedMaskConfig(AlgorithmConfig):
    """Keys `fed-mask.*`."""

    init: Init = Field(
        "kaiming-normal", description="the frozen weights: kaiming-normal, or signed-constant of the same deviation"
    )
    mask: str = Field("binary", description="the family of masks, one that is learnt: fedsieve list masks")
    restart: float = Field(
        0.1,
        gt=0.0,
        le=10.0,
        description="clients restart their latents at this times the mean mask, centred: 2·mean - 1 of {0,1}",
    )

    @model_validator(mode="after")
    def _mask_is_learnt(self) -> "FedMaskConfig":
        family_of("fed-mask.mask", self.mask, learnt_only)
        return self

    @property
    def family(self) -> Family:
        """The family that `mask` names."""
        return family_of("fed-mask.mask", self.mask)


class FedMaskTrainer:
    """Learn a mask of the frozen weights w: the network uses w ⊙ [m ≥ 0], and [m ≥ 0] is all that is sent.

    From the paper: weights that stay as they are, one real latent m a weight, a threshold, a straight-through gradient,
    and elements that are no other device's stay the device's own. Ours: every weight matrix carries a mask, and the
    mask starts at all ones, where the paper begins with a one-shot pruning on the device and seeks structured sparsity;
    the latents restart each round at a small multiple of what the server sends, as under `hide-n-seek`. The optimiser
    starts anew with them. What stays on the client is its last mask, one bit a weight. With another family than the
    paper's, mask(m) takes the place of [m ≥ 0].
    """

    def __init__(self, run: RunConfig, config: FedMaskConfig, model: nn.Module) -> None:
        self.run, self.config, self.model = run, config, model
        freeze_(model, config.init, run.seed, run.frozen_gain)
        self.groups, self.family, self.layout = groups_of(model), config.family, Layout.of(model)
        self.latents = attach_family(model, self.family)
        self.weights = weights(model)

    def train(self, task: Task, received: Tensors, state: Tensors) -> TrainResult:
        """Train `local-epochs` epochs from latents at ±`restart` times how surely the mean mask keeps a weight."""
        mean = received["mean"]
        surely = self.family.centred(mean)
        if "mask" in state:
            own = self.family.centred(self._mask(state).to(mean.device))
            surely = torch.where(unpack(received["overlap"], len(mean)), surely, own)
        load(self.latents, unflatten(surely * self.config.restart, self.latents))
        as_received = task.evaluate(self.model)
        optimizer = make_optimizer(self.run, self.latents, {})
        loss = fit(self.model, optimizer, task, self.run.local_epochs)
        local = task.evaluate(self.model)
        mask = self.layout.values(self.family, flatten(values(self.latents)))
        return mask_result(mask, mean, self.groups, self.family, metrics(task, as_received, local, loss))

    def personal_model(self, state: Tensors) -> Tensors:
        """Return w ⊙ the client's last mask."""
        own = values(self.weights)
        mask = self.layout.split(self._mask(state).to(next(iter(own.values())).device))
        return own | {name: own[name] * entries for name, entries in mask.items()}

    def _mask(self, state: Tensors) -> Tensor:
        """Return the entries of the client's last mask, one vector."""
        return self.family.entries(
            unpack_letters(state["mask"].cpu().numpy(), len(self.groups), len(self.family.alphabet))
        )
