"""The supermask of HideNseek: frozen weights, of which only the signs, or the entries of another mask, are learnt."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fedsieve.contract import Layout
from fedsieve.masks.binary import maskable
from fedsieve.masks.families import Sign
from fedsieve.masks.family import Family
from fedsieve.masks.survivors import Survivors

SIGN = Sign()


class SignMask:
    """Makes a network's weight matrices w ⊙ sign(m) of a frozen w, 0 where they are pruned; sign(0) = +1.

    There is a latent m for each surviving weight only, so that an optimiser's step costs what is left of the network.
    The gradient goes straight through the sign: as d sign(m) / dm counts 1 (Bengio et al. 2013), that of m is w times
    that of the weight. Our reconstruction of the mask of Vallapuram et al. 2022 (arXiv 2206.04385), whose code is not
    public.

    No parametrization, as other masks are: the network's own parameters hold the signed weights, and only a step of an
    optimiser that `follow` knows and `load_` write them. The network runs as if it had no mask.

    Args:
        parameters: the network's, by plain name.
        family: what takes the place of the sign.
        in_x_out: names of the matrices whose second dimension counts outputs.

    Attributes:
        latent: m, one dimension: the surviving weights layer after layer, each row by row.
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], family: Family = SIGN, in_x_out: Collection[str] = ()
    ) -> None:
        self.family, self.in_x_out = family, in_x_out
        self.layers = maskable(parameters)
        for parameter in self.layers.values():
            parameter.data = parameter.data.contiguous()
            parameter.requires_grad_(True)
        self.latent = nn.Parameter(torch.empty(0))
        self.keep_(self.layers, {name: torch.ones_like(w, dtype=torch.bool) for name, w in self.layers.items()})

    @torch.no_grad()
    def keep_(self, weights: Mapping[str, Tensor], keep: Mapping[str, Tensor]) -> None:
        """Keep those of the frozen `weights` where `keep`, a bool tensor a layer, is True; the latents begin at 0."""
        self._index = {name: keep[name].flatten().nonzero().flatten() for name in self.layers}
        self._layout = Survivors({name: keep[name] for name in self.layers}).layout(self.in_x_out)
        self._pieces = Layout.of(self._index)
        self._weights = torch.cat([weights[name].flatten()[index] for name, index in self._index.items()])
        for parameter in self.layers.values():
            parameter.zero_()
        self.load_(torch.zeros_like(self._weights))

    def load_(self, latent: Tensor) -> None:
        """Point the latents at `latent`, without a copy where the device is the same, and forget all gradients."""
        self.latent.data = latent.to(self._weights.device)
        for parameter in (self.latent, *self.layers.values()):
            parameter.grad = None
        self._write()

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Give the latents their gradient before, and the weights their signs after each step of `optimizer`."""
        optimizer.register_step_pre_hook(self._read)
        optimizer.register_step_post_hook(self._write)

    @torch.no_grad()
    def _read(self, *_: Any) -> None:
        gradient = torch.zeros_like(self._weights)
        for name, part in self._pieces.split(gradient).items():
            of_weight = self.layers[name].grad
            if of_weight is not None:
                torch.index_select(of_weight.flatten(), 0, self._index[name], out=part)
            self.layers[name].grad = None
        self.latent.grad = self.family.gradient(gradient.mul_(self._weights), self.latent)

    @torch.no_grad()
    def _write(self, *_: Any) -> None:
        masked = self._layout.fold(self.family, self._weights, self.latent)
        for name, part in self._pieces.split(masked).items():
            self.layers[name].view(-1).scatter_(0, self._index[name], part)


def apply_signs(weights: Mapping[str, Tensor], survivors: Survivors, entries: Tensor) -> dict[str, Tensor]:
    """Return w ⊙ mask of each pruned layer; `entries` are those of the surviving weights."""
    masks = survivors.scatter(entries)
    return {name: weights[name] * mask.to(weights[name].device) for name, mask in masks.items()}
