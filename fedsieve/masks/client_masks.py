"""Masks that a client trains together with its weights and keeps to itself, as FED-PUB does: one interface for all.

They differ from masks over frozen weights, which are all that their clients send and so have to be of a `Family`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from fedsieve.contract import Tensors
from fedsieve.masks.attach import attach_masks
from fedsieve.masks.family import Family, attach_family
from fedsieve.masks.personal import PersonalMask, apply_threshold

START = 0.1
"""As under hide-n-seek and fed-mask: at 1 Adam would need a hundred steps of 0.01 to change an entry."""


class ClientMasks(Protocol):
    """How a client's masks are made; what is learnt of a mask, of its weight's shape, is called its latent."""

    @property
    def real(self) -> bool:
        """Whether latents are the masks' entries, real numbers that a penalty can shrink."""

    @property
    def learnt(self) -> bool:
        """Whether latents are trained and stay from round to round; else they begin again each round."""

    def attach(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Put a mask on every weight matrix and return the latents by plain name."""

    def initial(self, weights: Mapping[str, Tensor], random: np.random.RandomState) -> Tensors:
        """Return the latents to begin with, on the CPU.

        Args:
            weights: each matrix, on the CPU.
            random: the same for every party of a run.
        """

    def in_use(self, latents: Mapping[str, Tensor], in_x_out: Collection[str]) -> Tensors:
        """Return what weights are multiplied by when the model is used.

        Args:
            latents: by plain name.
            in_x_out: names of the matrices whose second dimension counts outputs.
        """


@dataclass(frozen=True)
class PersonalMasks:
    """The masks of FED-PUB's paper: real-valued, begun at 1, thresholded when the model is used.

    Attributes:
        threshold: see `PersonalMask`.
    """

    threshold: float
    real = learnt = True

    def attach(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Put a mask on every weight matrix and return the masks by plain name."""
        attached = attach_masks(model, lambda weight: PersonalMask(weight, self.threshold))
        return {name: mask.mask for name, mask in attached.items() if isinstance(mask, PersonalMask)}

    def initial(self, weights: Mapping[str, Tensor], random: np.random.RandomState) -> Tensors:
        """Return masks of ones."""
        return {name: torch.ones_like(weight) for name, weight in weights.items()}

    def in_use(self, latents: Mapping[str, Tensor], in_x_out: Collection[str]) -> Tensors:
        """Return the masks, thresholded."""
        return {name: apply_threshold(mask, self.threshold) for name, mask in latents.items()}


@dataclass(frozen=True)
class FamilyMasks:
    """Masks of a family; latents that are learnt begin at `START` times where the family does.

    Attributes:
        family: what makes entries of the latents.
    """

    family: Family
    real = False

    @property
    def learnt(self) -> bool:
        """Whether the family's masks are learnt."""
        return self.family.learnt

    def attach(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Put a mask of the family on every weight matrix and return the latents by plain name."""
        return attach_family(model, self.family)

    def initial(self, weights: Mapping[str, Tensor], random: np.random.RandomState) -> Tensors:
        """Return the latents to begin with."""
        begins = self.family.initial(weights, random)
        return {name: START * place for name, place in begins.items()} if self.learnt else begins

    def in_use(self, latents: Mapping[str, Tensor], in_x_out: Collection[str]) -> Tensors:
        """Return the masks' entries."""
        return {name: self.family.values(latent, int(name in in_x_out)) for name, latent in latents.items()}


def share_of_zeros(masks: Mapping[str, Tensor]) -> float:
    """Return the share of the masks' entries that are 0."""
    return 1 - sum(int(torch.count_nonzero(mask)) for mask in masks.values()) / sum(
        mask.numel() for mask in masks.values()
    )
