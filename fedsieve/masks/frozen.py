"""Random weights that are never trained: what supermasks sieve."""

import numpy as np
import torch
from torch import Tensor, nn

from fedsieve.masks.attach import MATRIX_DIM, find_transposed, weights
from fedsieve.masks.names import Init
from fedsieve.seeds import random_state


@torch.no_grad()
def freeze_(model: nn.Module, init: Init, seed: int, gain: float = 0.0) -> dict[str, Tensor]:
    """Draw the model's weight matrices from the run's seed, set its biases to 0, and let nothing of it be trained.

    Returns all of its weights by plain name.

    With σ = gain · sqrt(2 / fan_in) of a layer (He et al., ICCV 2015, eq. 10: a gain of 1, which 0 stands for):
    `kaiming-normal` draws N(0, σ²), `signed-constant` +σ or -σ (Ramanujan et al., CVPR 2020, section 4.1). Scales of
    normalisation layers stay 1. Masks cannot make weights larger where inputs are small, as a graph's features divided
    by their sum are; a gain does.

    NumPy's `RandomState` gives the same values everywhere and for ever, so that a seed is all that needs to be sent.
    """
    random, gain = random_state(seed, "frozen weights"), gain or 1.0
    in_x_out = find_transposed(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(False)
        if parameter.dim() < MATRIX_DIM:
            if name.rpartition(".")[2] == "bias":
                parameter.zero_()
            continue
        sigma = gain * float(np.sqrt(2 * parameter.shape[int(name in in_x_out)] / parameter.numel()))
        drawn = random.standard_normal(tuple(parameter.shape))
        values = np.where(drawn >= 0, 1.0, -1.0) if init == "signed-constant" else drawn
        parameter.copy_(torch.from_numpy(sigma * values))
    return {name: parameter.detach() for name, parameter in weights(model).items()}
