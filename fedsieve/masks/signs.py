"""The sign supermask of HideNseek: frozen weights, of which only the signs are learnt."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fedsieve.masks.survivors import Survivors


class SignMask(nn.Module):
    """Parametrization of a frozen w: w ⊙ sign(m) where `keep_` keeps a weight, 0 elsewhere; sign(0) = +1.

    The gradient goes straight through the sign to the latent m. There is a latent for each surviving weight only, so
    that an optimiser's step costs what is left of the layer. Our reconstruction of the mask of Vallapuram et al. 2022
    (arXiv 2206.04385), whose code is not public.

    Attributes:
        latent: m, one dimension, as long as there are surviving weights, row by row.
    """

    index: Tensor
    kept: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.latent = nn.Parameter(weight.new_zeros(weight.numel()))
        self.register_buffer("index", torch.empty(0), persistent=False)
        self.register_buffer("kept", torch.empty(0), persistent=False)
        self.keep_(weight, torch.ones_like(weight, dtype=torch.bool))

    def keep_(self, weight: Tensor, keep: Tensor) -> None:
        """Keep the weights where `keep`, a bool tensor of the same shape, is True; the latents begin at 0."""
        self.index = keep.flatten().nonzero().flatten()
        self.kept = weight.detach().flatten()[self.index]
        self.latent.data = torch.zeros_like(self.kept)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the signed weights."""
        masked: Tensor = _Signed.apply(self.latent, self.kept, self.index, weight.shape)  # type: ignore[no-untyped-call]
        return masked


class _Signed(torch.autograd.Function):
    """w ⊙ sign(m); as d sign(m) / dm counts 1 (Bengio et al. 2013), the gradient of m is w times the output's."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor, kept: Tensor, index: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(kept, index)
        # The product is ±0 where m = 0, with the sign of w. Ten times as fast as torch.where(latent >= 0, w, -w).
        signed_ = torch.copysign(kept, kept * latent)
        return kept.new_zeros(shape.numel()).scatter_(0, index, signed_).view(shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        kept, index = ctx.saved_tensors
        return gradients[0].flatten().index_select(0, index).mul_(kept), None, None, None


def signed(weights: Mapping[str, Tensor], survivors: Survivors, positive: Tensor) -> dict[str, Tensor]:
    """Return w ⊙ sign of each pruned layer; `positive` says of each surviving weight whether its sign is +1."""
    signs = survivors.scatter(positive.float().mul_(2).sub_(1))
    return {name: weights[name] * sign.to(weights[name].device) for name, sign in signs.items()}
