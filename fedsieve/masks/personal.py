"""The personal mask of FED-PUB: real-valued, trained with the weights, thresholded when the model is used."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import hardshrink


class PersonalMask(nn.Module):
    """Parametrization W -> W ⊙ μ (Baek et al. 2023, section 4.3).

    In training μ is used as it is; in eval mode entries with |μ| < `threshold` count as 0.

    Args:
        weight: the matrix W that the mask sits on; μ has its shape and starts at 1.
        threshold: at or above 0; 0 keeps every entry.
    """

    def __init__(self, weight: Tensor, threshold: float) -> None:
        super().__init__()
        self.mask = nn.Parameter(torch.ones_like(weight))
        self.threshold = threshold

    def forward(self, weight: Tensor) -> Tensor:
        """Return the masked weights."""
        return weight * (self.mask if self.training else apply_threshold(self.mask, self.threshold))


def apply_threshold(mask: Tensor, threshold: float) -> Tensor:
    """Return `mask` (float32) with its entries below `threshold` in absolute value set to 0."""
    # hardshrink, one pass, zeroes what is at or below its bound: the next float below the threshold.
    return hardshrink(mask, float(np.nextafter(np.float32(threshold), np.float32(0))))


def shrink_(mask: Tensor, step: Tensor | float) -> None:
    """Apply the proximal operator of Σ step·|μ| to `mask` in place: sign(μ)·max(|μ| - step, 0)."""
    mask.copy_(mask.sign() * (mask.abs() - step).clamp_(min=0))


def adaptive_steps(weight: Tensor, step: float, power: float) -> Tensor:
    """Return step·(mean|W| / |W|)^power, of W's shape: small weights are shrunk faster, as by the adaptive lasso.

    Zou, "The Adaptive Lasso and Its Oracle Properties", JASA 2006, eq. 4, with the present weights as its estimate.
    """
    size = weight.abs()
    return (size.mean() / size.clamp_(min=torch.finfo(size.dtype).tiny)).pow_(power).mul_(step)
