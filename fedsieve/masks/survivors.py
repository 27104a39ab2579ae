"""The weights that pruning keeps, as one vector: what sign masks are sent over."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedsieve.contract import Layout
from fedsieve.masks.family import MaskLayout
from fedsieve.masks.groups import Groups


@dataclass(frozen=True)
class Survivors:
    """A keep-mask, and the order of the weights it keeps: layer after layer, each row by row.

    Attributes:
        keep: bool, of each layer's shape, by parameter name.
    """

    keep: dict[str, Tensor]

    @cached_property
    def layer_sizes(self) -> list[int]:
        """Number of surviving weights of each layer."""
        return [int(mask.sum()) for mask in self.keep.values()]

    @property
    def density(self) -> float:
        """Share of the weights that survive."""
        return sum(self.layer_sizes) / sum(mask.numel() for mask in self.keep.values())

    def layout(self, in_x_out: Collection[str]) -> MaskLayout:
        """Return how the surviving weights lie in a vector: in layers of their shapes where all of a layer survive.

        Args:
            in_x_out: names of the matrices whose second dimension counts outputs.
        """
        sizes = zip(self.keep.items(), self.layer_sizes, strict=True)
        return MaskLayout(
            {name: tuple(mask.shape) if size == mask.numel() else (size,) for (name, mask), size in sizes}, in_x_out
        )

    def weights(self, layers: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return those of the layers' weights that survive, of the shapes of `layout`."""
        shapes = self.layout(()).shapes
        return {name: layers[name][mask].view(tuple(shapes[name])) for name, mask in self.keep.items()}

    def by_layer(self, vector: Tensor) -> dict[str, Tensor]:
        """Cut a vector over the surviving weights into one a layer."""
        return Layout({name: (size,) for name, size in zip(self.keep, self.layer_sizes, strict=True)}).split(vector)

    def scatter(self, vector: Tensor) -> dict[str, Tensor]:
        """Return tensors of the layers' shapes whose surviving entries are those of `vector`, the others 0."""
        return {
            name: part.new_zeros(self.keep[name].shape).masked_scatter_(self.keep[name].to(part.device), part)
            for name, part in self.by_layer(vector).items()
        }

    def take(self, groups: Groups) -> Groups:
        """Return the groups of the surviving weights, of those of all of the layers' weights."""
        keep = torch.cat([mask.flatten() for mask in self.keep.values()])
        taken: Groups = groups[keep.cpu().numpy()]
        return taken

    def packed(self) -> NDArray[np.uint8]:
        """Return the keep-mask as bits, eight in a byte."""
        return np.packbits(np.concatenate([mask.flatten().cpu().numpy() for mask in self.keep.values()]))

    @classmethod
    def unpack(cls, packed: NDArray[np.uint8], shapes: Mapping[str, Sequence[int]]) -> "Survivors":
        """Read what `packed` wrote for layers of `shapes`; a ValueError if it is of another length."""
        sizes = Layout(shapes).sizes
        if packed.shape != (-(-sum(sizes) // 8),):
            raise ValueError(f"a keep-mask of {packed.size} bytes does not fit {sum(sizes)} weights")
        return cls(Layout(shapes).split(torch.from_numpy(np.unpackbits(packed, count=sum(sizes)).astype(np.bool_))))
