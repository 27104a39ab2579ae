"""The learnt families of masks."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from fedsieve.masks.binary import mask_weight
from fedsieve.masks.family import Family

LARGEST_GROUP = 16


@dataclass(frozen=True)
class Binary(Family):
    """[m ≥ 0]: keep a weight or not.

    Zhou, Lan, Liu and Yosinski, "Deconstructing Lottery Tickets", NeurIPS 2019, section 5, learn such supermasks of
    frozen weights through a Bernoulli draw; the threshold in its place is FedMask's (Li et al., SenSys 2021).
    """

    summary: ClassVar[str] = "{0,1}: keep a weight or not, by a threshold (Zhou et al., NeurIPS 2019)"
    alphabet: ClassVar[tuple[int, ...]] = (0, 1)

    def values(self, latent: Tensor, outputs: int = 0) -> Tensor:
        """Return 1 where m ≥ 0, 0 elsewhere."""
        return (latent >= 0).to(latent.dtype)

    def fold(self, weight: Tensor, latent: Tensor, outputs: int = 0) -> Tensor:
        """Return the weights that are kept, 0 elsewhere."""
        return mask_weight(weight, latent >= 0)


@dataclass(frozen=True)
class Sign(Family):
    """sign(m), sign(0) = +1: keep each weight or turn it around (Vallapuram et al. 2022, arXiv 2206.04385)."""

    summary: ClassVar[str] = "{-1,+1}: the sign of every weight (Vallapuram et al. 2022)"
    alphabet: ClassVar[tuple[int, ...]] = (-1, 1)

    def values(self, latent: Tensor, outputs: int = 0) -> Tensor:
        """Return +1 where m ≥ 0, -1 elsewhere."""
        return (latent >= 0).to(latent.dtype).mul_(2).sub_(1)

    def fold(self, weight: Tensor, latent: Tensor, outputs: int = 0) -> Tensor:
        """Return w ⊙ sign(m)."""
        # The product is ±0 where m = 0, with the sign of w. Ten times as fast as torch.where(latent >= 0, w, -w).
        return torch.copysign(weight, weight * latent)


@dataclass(frozen=True)
class Ternary(Family):
    """sign(m) where |m| > Δ, 0 elsewhere, Δ = 0.7 · mean|m| of the layer.

    Li, Zhang and Liu, "Ternary Weight Networks", 2016 (arXiv 1605.04711), section 2: the threshold that is near the
    best for weights that are normal or uniform. There the weights are learnt and a scale per layer goes with them; here
    latents are learnt, over weights that bring their own scale.
    """

    summary: ClassVar[str] = "{-1,0,+1}: a sign or nothing, by a layer's threshold (Li et al. 2016)"
    alphabet: ClassVar[tuple[int, ...]] = (-1, 0, 1)
    scope: ClassVar[Literal["entry", "layer", "row"]] = "layer"

    def values(self, latent: Tensor, outputs: int = 0) -> Tensor:
        """Return -1, 0 or +1."""
        size = latent.abs()
        return latent.sign() * (size > 0.7 * size.mean())


@dataclass(frozen=True)
class NOfM(Family):
    """Keep the N of every M inputs of a unit whose latents are largest; of equal ones the first.

    The pattern is that of Zhou et al., "Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch", ICLR
    2021 (arXiv 2102.04010), section 3, who choose by the size of weights that are learnt. Here scores are learnt of
    weights that stay as they are, straight through the choice, as in Ramanujan et al., CVPR 2020, section 3.

    Groups are M consecutive inputs of one output: entries of a row of the matrix out x (in · height · width), as a
    product with it sees them. Of a last group of fewer inputs, k, it keeps N·k/M, rounded up.

    Args:
        n: how many are kept, at least 1.
        m: of how many, more than n and at most 16.
    """

    n: int = 2
    m: int = 4

    summary: ClassVar[str] = "N of every M inputs of a unit, nm:N:M or N:M; by itself 2:4 (Zhou et al., ICLR 2021)"
    alphabet: ClassVar[tuple[int, ...]] = (0, 1)
    scope: ClassVar[Literal["entry", "layer", "row"]] = "row"

    @classmethod
    def of(cls, parameter: str) -> Self:
        """Return the family of "2:4", which "" is too."""
        n, colon, m = (parameter or "2:4").partition(":")
        if not (colon and n.isdecimal() and m.isdecimal() and 1 <= int(n) < int(m) <= LARGEST_GROUP):
            raise ValueError(f"N:M has to be two whole numbers, 1 ≤ N < M ≤ {LARGEST_GROUP}, such as 2:4")
        return cls(int(n), int(m))

    def initial(self, weights: Mapping[str, Tensor], random: np.random.RandomState) -> dict[str, Tensor]:
        """Return uniformly random scores in [-1, 1]: all N of a group are then as likely."""
        drawn = {name: random.uniform(-1, 1, tuple(weight.shape)) for name, weight in weights.items()}
        return {name: torch.from_numpy(scores).float() for name, scores in drawn.items()}

    def values(self, latent: Tensor, outputs: int = 0) -> Tensor:
        """Return 1 where a latent is among the N largest of its group, 0 elsewhere."""
        scores = latent.transpose(0, outputs)
        rows = scores.flatten(1)
        whole = rows.shape[1] // self.m * self.m
        groups = rows[:, :whole].reshape(len(rows), whole // self.m, self.m)
        parts = [_mark_largest(groups, self.n).flatten(1)]
        if rest := rows.shape[1] - whole:
            parts.append(_mark_largest(rows[:, whole:], -(-self.n * rest // self.m)))
        return torch.cat(parts, 1).view(scores.shape).transpose(0, outputs)


def _mark_largest(scores: Tensor, n: int) -> Tensor:
    """Return 1 at the n largest of the last dimension, 0 elsewhere."""
    ahead = torch.zeros(scores.shape, dtype=torch.int8, device=scores.device)
    for first, second in combinations(range(scores.shape[-1]), 2):
        wins = scores[..., first] >= scores[..., second]
        ahead[..., second] += wins
        ahead[..., first] += ~wins
    return (ahead < n).to(scores.dtype)
