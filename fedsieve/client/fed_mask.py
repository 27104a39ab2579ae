"""Client half of FedMask (Li et al., SenSys 2021).

The paper: "FedMask: Joint Computation and Communication-Efficient Personalized Federated Learning via Heterogeneous
Masking".
"""

import torch
from torch import Tensor, nn

from fedsieve.client.mask_result import mask_result
from fedsieve.client.training import fit, load, make_optimizer, metrics, values
from fedsieve.contract import Task, Tensors, Training, TrainResult
from fedsieve.masks.attach import weights
from fedsieve.masks.binary import flatten, unflatten, unpack
from fedsieve.masks.family import MaskLayout, attach_family
from fedsieve.masks.frozen import freeze_
from fedsieve.masks.groups import groups_of
from fedsieve.masks.planes import unpack_letters
from fedsieve.protocols.fed_mask import FedMaskConfig


class FedMaskTrainer:
    """Learn a mask of the frozen weights w: the network uses w ⊙ [m ≥ 0], and [m ≥ 0] is all that is sent.

    From the paper: weights that stay as they are, one real latent m a weight, a threshold, a straight-through gradient,
    and elements that are no other device's stay the device's own. Ours: every weight matrix carries a mask, and the
    mask starts at all ones, where the paper begins with a one-shot pruning on the device and seeks structured sparsity;
    the latents restart each round at a small multiple of what the server sends, as under `hide-n-seek`. The optimiser
    starts again with them. What stays on the client is its last mask, one bit a weight. With another family than the
    paper's, mask(m) takes the place of [m ≥ 0].
    """

    def __init__(self, run: Training, config: FedMaskConfig, model: nn.Module) -> None:
        self.run, self.config, self.model = run, config, model
        freeze_(model, config.init, run.seed, config.frozen_gain)
        self.groups, self.family, self.layout = groups_of(model), config.family, MaskLayout.of_network(model)
        self.latents = attach_family(model, self.family)
        self.weights = weights(model)

    def train(self, task: Task, received: Tensors, state: Tensors) -> TrainResult:
        """Train `local-epochs` epochs from latents at ±`restart` times how surely the mean mask keeps a weight."""
        mean = received["mean"]
        surely = self.family.centred(mean)
        if "mask" in state:
            last = self.family.centred(self._read_mask(state).to(mean.device))
            surely = torch.where(unpack(received["overlap"], len(mean)), surely, last)
        load(self.latents, unflatten(surely * self.config.restart, self.latents))
        as_received = task.evaluate(self.model)
        optimizer = make_optimizer(self.run, self.latents, {})
        loss = fit(self.model, optimizer, task, self.run.local_epochs)
        local = task.evaluate(self.model)
        mask = self.layout.values(self.family, flatten(values(self.latents)))
        return mask_result(mask, mean, self.groups, self.family, metrics(task, as_received, local, loss))

    def personal_model(self, state: Tensors) -> Tensors:
        """Return w ⊙ the client's last mask."""
        tensors = values(self.weights)
        mask = self.layout.split(self._read_mask(state).to(next(iter(tensors.values())).device))
        return tensors | {name: tensors[name] * entries for name, entries in mask.items()}

    def _read_mask(self, state: Tensors) -> Tensor:
        """Return the entries of the client's last mask, one vector."""
        return self.family.entries(
            unpack_letters(state["mask"].cpu().numpy(), len(self.groups), len(self.family.alphabet))
        )
