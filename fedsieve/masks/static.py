"""The static families of masks: chosen from the weights or from a seed, never learnt and never sent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from torch import Tensor

from fedsieve.masks.families import Binary
from fedsieve.masks.pruning import Keep, keep_largest, random_erk

DENSITY = 0.2


@dataclass(frozen=True)
class OfDensity(Binary):
    """A {0,1} mask that keeps a share of the weights and is not learnt.

    Args:
        density: share of the weights that are kept.
    """

    density: float = DENSITY

    learnt: ClassVar[bool] = False

    @classmethod
    def of(cls, parameter: str) -> Self:
        """Return the family of a density; "" is 0.2."""
        return cls(_parse_density(parameter))


@dataclass(frozen=True)
class Magnitude(OfDensity):
    """Keep the largest |w| of the network, and of every layer at least one.

    Han, Pool, Tran and Dally, "Learning both Weights and Connections for Efficient Neural Networks", NeurIPS 2015,
    section 3, whose thresholds are the layers' own; here one threshold is the whole network's.
    """

    summary: ClassVar[str] = "{0,1}, static: the largest weights, magnitude:DENSITY (Han et al., NeurIPS 2015)"

    def initial(self, weights: Mapping[str, Tensor], random: np.random.RandomState) -> dict[str, Tensor]:
        """Return 1 where a weight is kept, -1 elsewhere."""
        return _choose(keep_largest, weights, self.density, random)


@dataclass(frozen=True)
class RandomErk(OfDensity):
    """Keep random weights, more of small layers: Erdős–Rényi-Kernel (Evci et al., ICML 2020, section 3)."""

    summary: ClassVar[str] = "{0,1}, static: random weights, more of small layers, erk:DENSITY (Evci et al., ICML 2020)"

    def initial(self, weights: Mapping[str, Tensor], random: np.random.RandomState) -> dict[str, Tensor]:
        """Return 1 where a weight is kept, -1 elsewhere."""
        return _choose(random_erk, weights, self.density, random)


def _parse_density(parameter: str) -> float:
    try:
        density = float(parameter or DENSITY)
    except ValueError:
        density = 0.0
    if not 0 < density <= 1:
        raise ValueError("the density has to be a number above 0 and at most 1")
    return density


def _choose(
    choose: Callable[[Mapping[str, Tensor], float, np.random.RandomState], Keep],
    weights: Mapping[str, Tensor],
    density: float,
    random: np.random.RandomState,
) -> dict[str, Tensor]:
    return {name: mask.float().mul_(2).sub_(1) for name, mask in choose(weights, density, random).items()}
