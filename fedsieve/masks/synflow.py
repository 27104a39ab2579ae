"""The SynFlow score of every weight: how much of a network's "synaptic flow" passes through it."""

import copy
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fedsieve.inputs import run_network
from fedsieve.masks.attach import MATRIX_DIM

# _NormBase is the batch norms and the instance norms.
NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.LocalResponseNorm)

_NORMS_OF_GRAPHS = "torch_geometric.nn.norm"

ROUNDING = 1e-12
"""What a score may be below 0, as a share of R: the attention of equal tokens, constant in its weights, is so."""


class Flow:
    """R = Σ f(1), the outputs' sum for an input of ones, of a network f with each weight replaced by |θ|.

    Tanaka, Kunin, Yamins and Ganguli, "Pruning neural networks without any data by iteratively conserving synaptic
    flow", NeurIPS 2020, section 6 and algorithm 1. Scores are conserved from layer to layer (theorems 1 and 2) if R is
    homogeneous in the weights of each: so biases are 0, normalisation layers hand on their input, other scales count
    as their size, and dropout is off; ReLU and ELU are the identity on what is never negative, and max pooling is
    homogeneous. The published code keeps |b| and, in evaluation mode, batch norms with the statistics of an untrained
    network, which are nearly the identity too; group and layer norms have no such mode.

    R is a product over the layers, 2e22 in a ResNet-18 as it is initialised, so it is computed in float64. Factors that
    would keep it near 1 are not needed, and are wrong beside a shortcut: to scale one branch changes the ranking.

    Args:
        model: left as it is.
        names: the parameters to score.
    """

    def __init__(self, model: nn.Module, names: Collection[str]) -> None:
        self._network = copy.deepcopy(model).double().eval()
        parameters = dict(self._network.named_parameters())
        self._weights = {name: parameters[name] for name in names}
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.requires_grad_(False)
                parameter.zero_() if _is_bias(name, parameter) else parameter.abs_()
        for weight in self._weights.values():
            weight.requires_grad_(True)
        for module in self._network.modules():
            if isinstance(module, NORMS) or type(module).__module__.startswith(_NORMS_OF_GRAPHS):
                module.forward = _pass_on  # the module stays: others read its attributes, a transformer norm1.eps

    def mask(self, keep: dict[str, Tensor]) -> None:
        """Set the weights outside `keep` (bool, of the weights' shapes) to 0, for good."""
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.mul_(keep[name])

    def scores(self, ones: Any) -> dict[str, Tensor]:
        """Return |θ| ∂R/∂|θ| of each weight (eq. 2), float64, at or above 0, of the weights' shapes.

        Raises:
            FloatingPointError: R is beyond float64, or the network is not monotone and so has no flow.
        """
        with torch.enable_grad():
            # A copy: the network may write into its input, and there are more steps to come.
            flow = run_network(self._network, ones.clone() if isinstance(ones, Tensor) else ones).sum()
        if not torch.isfinite(flow):
            raise FloatingPointError("SynFlow: the weights are so large that the network's outputs overflow float64")
        gradients = torch.autograd.grad(flow, list(self._weights.values()), materialize_grads=True)
        pairs = zip(self._weights.items(), gradients, strict=True)
        scores = {name: weight.detach() * gradient for (name, weight), gradient in pairs}
        least = -ROUNDING * flow.item()
        if not all(bool((score >= least).all()) for score in scores.values()):
            raise FloatingPointError("SynFlow: an output falls as a weight grows, so the network has no synaptic flow")
        return {name: torch.where(score > 0, score, 0.0) for name, score in scores.items()}


def _is_bias(name: str, parameter: Tensor) -> bool:
    return parameter.dim() < MATRIX_DIM and "bias" in name.rpartition(".")[2]


def _pass_on(inputs: Tensor, *_: Any, **__: Any) -> Tensor:
    return inputs


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the block with torch on one thread, since the order of a sum, and so its last bits, depend on their number.

    These bits decide which of two equal pixels a max pooling takes.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
