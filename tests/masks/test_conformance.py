from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedsieve.masks.families import Binary
from fedsieve.masks.family import family_names
from fedsieve.testing.families import LAYERS, PROMISES, mask_conformance

PARAMETERS = {"nm": "2:4", "magnitude": "magnitude:0.5", "erk": "erk:0.5"}

for _name in family_names():
    globals()[f"test_{_name}"] = mask_conformance(PARAMETERS.get(_name, _name))


@dataclass(frozen=True)
class Halves(Binary):
    """Entries that are no letters."""

    def values(self, latent: Tensor, outputs: int = 0) -> Tensor:
        return super().values(latent, outputs) / 2


@dataclass(frozen=True)
class Upside(Binary):
    """A restart turns the mask around."""

    def values(self, latent: Tensor, outputs: int = 0) -> Tensor:
        return 1 - super().values(latent, outputs)


@dataclass(frozen=True)
class Far(Binary):
    """Latents begin beyond the bounds."""

    def initial(self, weights: Any, random: Any) -> dict[str, Tensor]:
        return {name: torch.full(weight.shape, 2.0) for name, weight in weights.items()}


@dataclass(frozen=True)
class Numb(Binary):
    """No number comes back."""

    def gradient(self, upstream: Tensor, latent: Tensor) -> Tensor:
        return upstream / 0


@pytest.mark.parametrize(
    ("family", "broken"),
    [
        (Halves(), "entries-are-letters"),
        (Upside(), "restarts-as-it-was"),
        (Far(), "begins-within-bounds"),
        (Numb(), "learns"),
    ],
)
def test_a_family_that_breaks_a_promise_fails_its_check(family: Binary, broken: str):
    check: Callable[[Any, nn.Module, int], str] = PROMISES[broken]
    assert check(family, LAYERS["linear"](), 0)
    assert not check(Binary(), LAYERS["linear"](), 0)
