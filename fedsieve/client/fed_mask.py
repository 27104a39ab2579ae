"""Client half of FedMask (Li et al., SenSys 2021).

The paper: "FedMask: Joint Computation and Communication-Efficient Personalized Federated Learning via Heterogeneous
Masking".
"""

import torch
from pydantic import Field
from torch import nn

from fedsieve.algorithm import AlgorithmConfig, Task, Tensors, TrainResult
from fedsieve.client.mask_result import mask_result
from fedsieve.client.training import fit, load, make_optimizer, metrics, values
from fedsieve.config import RunConfig
from fedsieve.masks.attach import attach_masks, weights
from fedsieve.masks.binary import BinaryMask, flatten, fold, unflatten, unpack
from fedsieve.masks.frozen import Init, freeze_
from fedsieve.masks.groups import groups_of


class FedMaskConfig(AlgorithmConfig):
    """Keys `fed-mask.*`."""

    init: Init = Field(
        "kaiming-normal", description="the frozen weights: kaiming-normal, or signed-constant of the same deviation"
    )
    restart: float = Field(
        0.1, gt=0.0, le=10.0, description="clients restart their latents at this times 2·(mean mask) - 1"
    )


class FedMaskTrainer:
    """Learn which of the frozen weights w to keep: the network uses w ⊙ [m ≥ 0], and [m ≥ 0] is all that is sent.

    From the paper: weights that stay as they are, one real latent m a weight, a threshold, a straight-through gradient,
    and elements that are no other device's stay the device's own. Ours: every weight matrix carries a mask, and the
    mask starts at all ones, where the paper begins with a one-shot pruning on the device and seeks structured sparsity;
    the latents restart each round at a small multiple of what the server sends, as under `hide-n-seek`. The optimiser
    starts anew with them. What stays on the client is its last mask, one bit a weight.
    """

    def __init__(self, run: RunConfig, config: FedMaskConfig, model: nn.Module) -> None:
        self.run, self.config, self.model = run, config, model
        freeze_(model, config.init, run.seed)
        self.groups = groups_of(model)
        attached = attach_masks(model, BinaryMask)
        self.latents = {name: mask.latent for name, mask in attached.items() if isinstance(mask, BinaryMask)}
        self.weights = weights(model)

    def train(self, task: Task, received: Tensors, state: Tensors) -> TrainResult:
        """Train `local-epochs` epochs from latents at ±`restart` times how surely the mean mask keeps a weight."""
        mean, n = received["mean"], len(self.groups)
        surely = 2 * mean - 1
        if "mask" in state:
            own = unpack(state["mask"], n).to(mean.device)
            surely = torch.where(unpack(received["overlap"], n), surely, own.float().mul_(2).sub_(1))
        load(self.latents, unflatten(surely * self.config.restart, self.latents))
        as_received = task.evaluate(self.model)
        optimizer = make_optimizer(self.run, self.latents, {})
        loss = fit(self.model, optimizer, task, self.run.local_epochs)
        local = task.evaluate(self.model)
        kept = flatten(values(self.latents)) >= 0
        return mask_result(kept, mean, self.groups, metrics(task, as_received, local, loss))

    def personal_model(self, state: Tensors) -> Tensors:
        """Return w ⊙ the client's last mask."""
        return fold(values(self.weights), unpack(state["mask"], len(self.groups)))
