"""The promises of a family of masks, as tests."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedsieve.masks.family import Family, attach_family, family_of
from fedsieve.masks.planes import decode_letters, encode_letters
from fedsieve.models.gcn import GraphConvolution

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(10, 6),
    "convolution": lambda: nn.Conv2d(3, 5, 3),
    "graph convolution, in x out": lambda: GraphConvolution(9, 4),
}


def mask_conformance(family: str) -> Callable[..., None]:
    """Return a test, of as many cases as a family of masks makes promises, for a module of tests.

        test_mask_conformance = mask_conformance("thirds")

    Args:
        family: as in a key: `NAME` or `NAME:PARAMETER`.
    """

    @pytest.mark.parametrize("promise", PROMISES)
    @pytest.mark.parametrize("layer", LAYERS)
    def test_mask_conformance(promise: str, layer: str) -> None:
        __tracebackhide__ = True
        torch.manual_seed(0)
        module = LAYERS[layer]()
        outputs = int(isinstance(module, GraphConvolution))
        fault = PROMISES[promise](family_of("mask", family), module, outputs)
        if fault:
            pytest.fail(f"{family} breaks the promise {promise}, for a {layer}: {fault}", pytrace=False)

    return test_mask_conformance


def _draw_masks(family: Family, module: nn.Module, outputs: int) -> list[Tensor]:
    """Return masks of latents drawn over [-1.5, 1.5], or the one mask of a family that is not learnt."""
    (weight,) = (parameter.detach() for parameter in module.parameters() if parameter.dim() > 1)
    if not family.learnt:
        latents = [family.initial({"weight": weight}, np.random.RandomState(0))["weight"]]
    else:
        latents = [3 * torch.rand_like(weight) - 1.5 for _ in range(8)]
    return [family.values(latent, outputs) for latent in latents]


def _check_letters(family: Family, module: nn.Module, outputs: int) -> str:
    for mask in _draw_masks(family, module, outputs):
        try:
            family.letters(mask)
        except ValueError as fault:
            return f"{fault}"
    return ""


def _check_law(family: Family, module: nn.Module, outputs: int) -> str:
    for mask in _draw_masks(family, module, outputs):
        again = family.values(family.centred(mask), outputs)
        if not torch.equal(again, mask):
            return f"values(centred(mask)) is not the mask in {int((again != mask).sum())} of {mask.numel()} entries"
    return ""


def _check_initial(family: Family, module: nn.Module, _: int) -> str:
    (weight,) = (parameter.detach() for parameter in module.parameters() if parameter.dim() > 1)
    first, again = (family.initial({"weight": weight}, np.random.RandomState(0))["weight"] for _ in range(2))
    if first.shape != weight.shape or not bool((first.abs() <= 1).all()):
        return "initial gives latents of another shape than the weights', or beyond [-1, 1]"
    return "" if torch.equal(first, again) else "initial gives other latents for the same generator"


def _check_gradient(family: Family, module: nn.Module, _: int) -> str:
    (latent,) = attach_family(module, family).values()
    (weight,) = (parameter for parameter in module.parameters() if parameter.dim() > 1 and parameter is not latent)
    latent.data = family.initial({"weight": weight.detach()}, np.random.RandomState(0))["weight"]
    masked = module.weight
    assert isinstance(masked, Tensor)
    masked.sum().backward()  # type: ignore[no-untyped-call]
    if latent.grad is None:
        return "no gradient reaches the latents of a family that is learnt" if family.learnt else ""
    return "" if bool(torch.isfinite(latent.grad).all()) else "the latents' gradient is not finite"


def _check_code(family: Family, module: nn.Module, outputs: int) -> str:
    for mask in _draw_masks(family, module, outputs):
        letters = family.letters(mask)
        mean = np.full(letters.size, np.mean(family.alphabet))
        levels, groups = family.levels(mean), np.zeros(letters.size, np.uint32)
        decoded = family.entries(decode_letters(encode_letters(letters, levels, groups), levels, groups))
        if not torch.equal(decoded, mask.flatten().float()):
            return "a mask that was coded comes back as another"
    return ""


PROMISES: dict[str, Callable[[Family, nn.Module, int], str]] = {
    "entries-are-letters": _check_letters,
    "restarts-as-it-was": _check_law,
    "begins-within-bounds": _check_initial,
    "learns": _check_gradient,
    "travels": _check_code,
}
"""What every family promises; a check returns how it is broken, "" if it is kept."""
