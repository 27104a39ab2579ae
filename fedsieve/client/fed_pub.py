"""Client half of FED-PUB (Baek et al., "Personalized Subgraph Federated Learning", ICML 2023, arXiv 2206.10206)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fedsieve.client.training import (
    add_prefix,
    fit,
    load,
    make_optimizer,
    metrics,
    optimizer_state,
    squared_distance,
    take_prefix,
    values,
)
from fedsieve.contract import Task, Tensors, Training, TrainResult
from fedsieve.masks.attach import find_transposed, weights
from fedsieve.masks.client_masks import share_of_zeros
from fedsieve.masks.personal import adaptive_steps, shrink_
from fedsieve.protocols.fed_pub import EMBEDDING, FedPubConfig
from fedsieve.seeds import random_state


class FedPubTrainer:
    """Train weights θ_k and personal mask μ_k; send θ_k and the functional embedding h_k.

    Every weight matrix W is used as W ⊙ μ (section 4.3). μ and the optimiser's state stay on the client. The loss is
    cross-entropy + λ1·‖μ_k‖₁ + λ2·‖θ_k - θ̄_k‖² (eq. 6). In the published code both regularisers are computed from
    detached tensors and so have no gradient: `sparsity = none`. As printed (`subgradient`) Adam lets the λ1 term
    dominate and accuracy falls. `proximal`, ours, keeps λ2 as printed and replaces the λ1 term by a proximal step
    after each of the optimiser's, which really sets entries to 0. It shrinks an entry the faster the smaller its weight
    is: a uniform step cost more accuracy at every sparsity (docs/results.md).

    With a family of masks, ours too, every W is used as W ⊙ mask(m). Latents m that are learnt stay on the client as μ
    does; λ1 and the proximal step are of real numbers and left out. A static mask is chosen again from the weights
    received each round.
    """

    def __init__(self, run: Training, config: FedPubConfig, model: nn.Module) -> None:
        self.run, self.config, self.model = run, config, model
        self.kind, self.in_x_out = config.masks, find_transposed(model)
        self.masks = self.kind.attach(model)
        self.weights = weights(model)
        learnt = {f"mask/{name}": mask for name, mask in self.masks.items() if mask.requires_grad}
        self.trained = learnt | self.weights

    def train(self, task: Task, received: Tensors, state: Tensors) -> TrainResult:
        """Train `local-epochs` epochs from the personalised weights θ̄_k received and the client's own mask."""
        load(self.weights, received)
        load(self.masks, self._own_masks(state))
        as_received = task.evaluate(self.model)
        optimizer = make_optimizer(self.run, self.trained, state)
        shrinks = self.kind.real and self.config.sparsity == "proximal" and self.config.prox > 0
        after_step = self._shrink_masks if shrinks else None
        loss = fit(self.model, optimizer, task, self.run.local_epochs, self._regularisers(), after_step)
        with parametrize.cached():
            local = task.evaluate(self.model)
            embedding = task.functional_embedding(self.model)
        upload, masks = values(self.weights), values(self.masks)
        return TrainResult(
            arrays=upload | {EMBEDDING: embedding},
            metrics=metrics(task, as_received, local, loss) | {"mask-sparsity": self._sparsity()},
            state=add_prefix("weights", upload) | add_prefix("mask", masks) | optimizer_state(optimizer, self.trained),
        )

    def personal_model(self, state: Tensors) -> Tensors:
        """Return θ_k ⊙ μ_k, thresholded."""
        masks = self.kind.in_use(take_prefix("mask", state), self.in_x_out)
        return {
            name: weight * masks[name] if name in masks else weight
            for name, weight in take_prefix("weights", state).items()
        }

    def _own_masks(self, state: Tensors) -> Tensors:
        """Return the client's own masks, or latents; where it has none or they are static, those to begin with."""
        masks = take_prefix("mask", state)
        if masks and self.kind.learnt:
            return masks
        layers = {name: self.weights[name].detach().cpu() for name in self.masks}
        return self.kind.initial(layers, random_state(self.run.seed, "masks"))

    def _regularisers(self) -> Callable[[], Tensor] | None:
        """Return the terms of eq. 6 that have a gradient, θ̄_k being the weights just loaded."""
        if self.config.sparsity == "none":
            return None
        lambda1 = self.config.lambda1 if self.config.sparsity == "subgradient" else 0.0
        lambda2 = self.config.lambda2
        received = {name: parameter.detach().clone() for name, parameter in self.weights.items()}

        def terms() -> Tensor:
            total = lambda2 * squared_distance(self.weights, received)
            if lambda1 > 0:
                total = total + lambda1 * torch.stack([mask.abs().sum() for mask in self.masks.values()]).sum()
            return total

        return terms

    def _shrink_masks(self) -> None:
        """Apply the proximal operator of lr·λ·Σ (mean|W| / |W|)^γ·|μ| to every mask."""
        step, power = self.run.lr * self.config.prox, self.config.prox_power
        for name, mask in self.masks.items():
            shrink_(mask, adaptive_steps(self.weights[name], step, power))

    def _sparsity(self) -> float:
        """Return the share of mask entries that are 0 when the model is used."""
        return share_of_zeros(self.kind.in_use(values(self.masks), self.in_x_out))
