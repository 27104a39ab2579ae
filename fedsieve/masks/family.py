"""The contract of a family of masks: what a mask's entries may be, and how they come of what is learnt.

A family is found by its name in the entry-point group `fedsieve.masks`; the built-in ones are registered in the same
way. In a key it is `NAME` or `NAME:PARAMETER`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedsieve import plugins
from fedsieve.contract import Layout
from fedsieve.errors import UserError, suggest
from fedsieve.masks.attach import attach_masks, find_transposed, weights
from fedsieve.masks.binary import levels, maskable
from fedsieve.masks.names import FAMILIES, family_and_parameter

MIN_LETTERS, MAX_LETTERS = 2, 16

Numbers = TypeVar("Numbers", Tensor, NDArray[np.floating[Any]])


class Family(ABC):
    """A family of masks: one latent number a weight is learnt, and becomes an entry of the alphabet when it is used.

    Between an algorithm's rounds latents restart where the mean of clients' entries says: at a multiple of `centred`,
    the mean in [-1, 1]. For every mask `values(centred(mask))` has to be that mask: the server takes no other.

    Attributes:
        summary: one line, for `fedsieve list masks`.
        alphabet: what an entry may be, ascending whole numbers; 2 to 16 of them. With k of them a mask travels in k - 1
            planes of bits (see `planes`).
        scope: what decides an entry: its own latent (`entry`), all latents of its layer (`layer`) or those of its unit,
            an output of the layer (`row`).
        learnt: False if `initial` decides the mask, which then costs nothing to train and is never sent.
    """

    summary: ClassVar[str]
    alphabet: ClassVar[tuple[int, ...]]
    scope: ClassVar[Literal["entry", "layer", "row"]] = "entry"
    learnt: ClassVar[bool] = True

    @classmethod
    def of(cls, parameter: str) -> Self:
        """Return the family that `NAME:PARAMETER` names, "" where no parameter is given; a ValueError, one clause."""
        if parameter:
            raise ValueError("it takes no parameter")
        return cls()

    def initial(self, weights: Mapping[str, Tensor], random: np.random.RandomState) -> dict[str, Tensor]:
        """Return where latents begin, in [-1, 1] and of the weights' shapes, on the CPU; all entries the last letter.

        Args:
            weights: each layer's, on the CPU; one dimension where a layer is pruned.
            random: the same for every party of a run.
        """
        return {name: torch.ones(weight.shape) for name, weight in weights.items()}

    @abstractmethod
    def values(self, latent: Tensor, outputs: int = 0) -> Tensor:
        """Return the entries, of the latents' shape and type.

        Args:
            latent: of one layer; under `scope = entry` of any part of one.
            outputs: the dimension that counts the layer's outputs; 1 where a matrix is in x out.
        """

    def fold(self, weight: Tensor, latent: Tensor, outputs: int = 0) -> Tensor:
        """Return w ⊙ mask; to be replaced where there is a faster way to the same."""
        return weight * self.values(latent, outputs)

    def gradient(self, upstream: Tensor, latent: Tensor) -> Tensor:
        """Return the gradient of the latents, given that of the entries; entry by entry.

        Straight through: d entry / d latent counts 1 (Bengio, Léonard and Courville 2013, arXiv 1308.3432, section 5).
        """
        return upstream

    def centred(self, mean: Numbers) -> Numbers:
        """Return a mean of entries in [-1, 1]: -1 for the first letter, 1 for the last."""
        low, high = self.alphabet[0], self.alphabet[-1]
        return 2 * ((mean - low) / (high - low)) - 1

    def uncentred(self, place: Numbers) -> Numbers:
        """Return the mean whose `centred` is `place`."""
        low, high = self.alphabet[0], self.alphabet[-1]
        return (place + 1) / 2 * (high - low) + low

    def letters(self, entries: Tensor) -> NDArray[np.uint8]:
        """Return which letter of the alphabet each entry is, from 0, one dimension; a ValueError if it is none."""
        alphabet = np.asarray(self.alphabet)
        flat = entries.detach().cpu().numpy().ravel()
        letters = np.minimum(np.searchsorted(alphabet, flat), len(alphabet) - 1)
        if not np.array_equal(alphabet[letters], flat):
            raise ValueError(f"a mask holds entries that are none of {', '.join(map(str, self.alphabet))}")
        return letters.astype(np.uint8)

    def entries(self, letters: NDArray[np.uint8]) -> Tensor:
        """Return the entries, float32, that `letters` numbers."""
        return torch.tensor(self.alphabet, dtype=torch.float32)[torch.from_numpy(letters.astype(np.intp))]

    def levels(self, mean: NDArray[np.floating[Any]]) -> list[NDArray[np.int8]]:
        """Return, for each plane of a mask's code, how likely its bits are to be 1, as the codec is told it.

        A bit of plane i says whether an entry is above letter i. Of entries of a mean between two neighbouring letters
        it is assumed that they are these two.
        """
        neighbours = zip(self.alphabet[:-1], self.alphabet[1:], strict=True)
        return [levels(np.clip((mean - low) / (high - low), 0, 1)) for low, high in neighbours]


class FamilyMask(nn.Module):
    """Parametrization W -> W ⊙ mask of a family; both the latents and, unless it is frozen, W have a gradient.

    Args:
        weight: W, of whose shape the latents are.
        family: what makes entries of the latents.
        outputs: the dimension of W that counts outputs.
    """

    def __init__(self, weight: Tensor, family: Family, outputs: int = 0) -> None:
        super().__init__()
        self.latent = nn.Parameter(torch.zeros_like(weight), requires_grad=family.learnt)
        self.family, self.outputs = family, outputs

    def forward(self, weight: Tensor) -> Tensor:
        """Return the masked weights."""
        folded: Tensor = _Folded.apply(weight, self.latent, self.family, self.outputs)  # type: ignore[no-untyped-call]
        return folded


def attach_family(model: nn.Module, family: Family) -> dict[str, nn.Parameter]:
    """Put a mask of the family on every weight matrix and return the latents by plain name."""
    in_x_out = find_transposed(model)
    turned = {id(weight) for name, weight in weights(model).items() if name in in_x_out}
    attached = attach_masks(model, lambda weight: FamilyMask(weight, family, int(id(weight) in turned)))
    return {name: mask.latent for name, mask in attached.items() if isinstance(mask, FamilyMask)}


@dataclass(frozen=True)
class MaskLayout(Layout):
    """How the masked weights of a network, or those that survive, lie in one vector: layer after layer.

    Attributes:
        in_x_out: names of the matrices whose second dimension counts outputs.
    """

    in_x_out: Collection[str] = ()

    @classmethod
    def of_network(cls, network: nn.Module) -> Self:
        """Return the layout of all of a network's weight matrices, before masks are attached."""
        layers = maskable(weights(network))
        return cls({name: tuple(weight.shape) for name, weight in layers.items()}, find_transposed(network))

    def values(self, family: Family, latent: Tensor) -> Tensor:
        """Return the entries that a vector of latents gives."""
        if family.scope == "entry":
            return family.values(latent)
        layers = self.split(latent).items()
        return torch.cat([family.values(part, int(name in self.in_x_out)).flatten() for name, part in layers])

    def fold(self, family: Family, weight: Tensor, latent: Tensor) -> Tensor:
        """Return the masked weights, of two vectors one."""
        return family.fold(weight, latent) if family.scope == "entry" else weight * self.values(family, latent)

    def check(self, family: Family, entries: Tensor) -> None:
        """Raise a ValueError, one clause, if a vector of letters of the alphabet is no mask of the family.

        Where an entry depends on nothing but itself, they all are.
        """
        if family.scope != "entry" and not torch.equal(self.values(family, family.centred(entries)), entries):
            raise ValueError("the mask is none of its family")


def family_names() -> list[str]:
    """Return the sorted names of all installed families, without importing them."""
    return plugins.names(FAMILIES)


def load_family(name: str, key: str = "mask") -> type[Family]:
    """Import the family registered as `name`; a name nobody registered is a `UserError` about `key`."""
    family: type[Family] = plugins.load(FAMILIES, name, key, _faults)
    return family


def family_of(
    key: str,
    given: str,
    refusal: Callable[[Family], str | None] = lambda _: None,
    besides: Collection[str] = (),
) -> Family:
    """Return the family that the value `given` of `key` names.

    Args:
        key: of the configuration, for sentences.
        given: `NAME`, `NAME:PARAMETER`, or `N:M` for `nm:N:M`.
        refusal: why an algorithm cannot use a family, one clause, or None if it can.
        besides: what else the key may be, for sentences.

    Raises:
        UserError: nobody registered it, its parameter is wrong, or it is refused.
    """
    name, parameter = family_and_parameter(given)
    if name not in family_names():
        possible = _list_possible(refusal, besides)
        raise UserError(f"{key}: got {given!r}{suggest(given, possible)}, allowed: {', '.join(possible)}.")
    try:
        family = load_family(name, key).of(parameter)
    except ValueError as error:
        raise UserError(f"{key}: got {given!r}, but {error}.") from error
    if (why := refusal(family)) is not None:
        raise UserError(f"{key}: got {given!r}, but {why}, allowed: {', '.join(_list_possible(refusal, besides))}.")
    return family


def refuse_static(family: Family) -> str | None:
    """Return why an algorithm whose weights are frozen cannot use a family, one clause; None if it can."""
    return (
        None if family.learnt else "its weights are frozen, so that a mask that is not learnt leaves nothing to train"
    )


def _list_possible(refusal: Callable[[Family], str | None], besides: Collection[str]) -> list[str]:
    return [*besides, *(name for name in family_names() if _is_usable(name, refusal))]


def _is_usable(name: str, refusal: Callable[[Family], str | None]) -> bool:
    try:
        return refusal(load_family(name).of("")) is None
    except (UserError, ValueError):
        return False


def _faults(entry: object) -> Iterator[str]:
    """Yield what makes a registered object unusable as a family, a clause each."""
    if not (isinstance(entry, type) and issubclass(entry, Family)):
        yield "is not a class of fedsieve.masks.family.Family"
        return
    for name in sorted(getattr(entry, "__abstractmethods__", ())):
        yield f"is a family without {name}"
    if not isinstance(getattr(entry, "summary", None), str):
        yield "is a family without a summary"
    letters = getattr(entry, "alphabet", ())
    if not (
        isinstance(letters, tuple)
        and MIN_LETTERS <= len(letters) <= MAX_LETTERS
        and all(type(letter) is int for letter in letters)
        and list(letters) == sorted(set(letters))
    ):
        yield f"has the alphabet {letters!r}, allowed: {MIN_LETTERS} to {MAX_LETTERS} whole numbers, ascending"


class _Folded(torch.autograd.Function):
    """w ⊙ mask(m): the gradient of w is the mask times the output's, that of the entries w times it."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, latent: Tensor, family: Family, outputs: int) -> Tensor:
        ctx.family, ctx.outputs = family, outputs
        ctx.save_for_backward(weight, latent)
        return family.fold(weight, latent, outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        weight, latent = ctx.saved_tensors
        of_weight, of_latent, *_ = ctx.needs_input_grad
        return (
            gradients[0] * ctx.family.values(latent, ctx.outputs) if of_weight else None,
            ctx.family.gradient(gradients[0] * weight, latent) if of_latent else None,
            None,
            None,
        )
