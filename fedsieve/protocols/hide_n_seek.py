"""HideNseek (Vallapuram et al. 2022, arXiv 2206.04385), a reconstruction: what its halves share."""

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fedsieve.algorithms import Algorithm, AlgorithmConfig
from fedsieve.masks.names import ITERATIONS, Init, is_chosen

if TYPE_CHECKING:
    from fedsieve.masks.family import Family
    from fedsieve.masks.survivors import Survivors

LEVELS = 127
"""The mean sign travels as a whole number from -LEVELS to LEVELS, so that both ends code with the same model."""


class HideNseekConfig(AlgorithmConfig):
    """Keys `hide-n-seek.*`."""

    density: float = Field(0.2, gt=0.0, le=1.0, description="share of the weights that the server keeps")
    mask: str = Field("sign", description="the family of masks, one that is learnt: fedsieve list masks")
    pruner: str = Field("synflow", description="how the server prunes, once and without data: fedsieve list pruners")
    prune_iterations: int = Field(
        ITERATIONS, ge=1, le=10_000, description="steps of a pruner that goes in steps, as synflow does"
    )
    init: Init = Field(
        "signed-constant", description="the frozen weights: kaiming-normal, or signed-constant of the same deviation"
    )
    frozen_gain: float = Field(
        0.0, ge=0.0, le=1e3, description="how large the frozen weights are, as a multiple of He's; 0: 1, on graphs 4"
    )
    aggregate: Literal["mean", "vote"] = Field(
        "mean",
        description="what the server sends: the mean of the signs, or the sign of a round's majority, 1 bit a weight; "
        "of another family the mean mask, centred",
    )
    memory: float = Field(
        0.7, ge=0.0, lt=1.0, description="share of the average so far in the next, for aggregate = mean; 0: forget it"
    )
    restart: float = Field(
        0.1, gt=0.0, le=10.0, description="clients restart at this times what the server sends and their own share"
    )
    own_share: float = Field(
        0.3, ge=0.0, le=1.0, description="share of a client's own last signs in where its latents restart"
    )
    average_last: float = Field(
        0.5, ge=0.0, le=1.0, description="share of a round's last steps whose mean latents give the signs; 0: one step"
    )

    @property
    def family(self) -> "Family":
        """The family that `mask` names."""
        from fedsieve.masks.family import family_of

        return family_of("hide-n-seek.mask", self.mask)

    @model_validator(mode="after")
    def _mask_is_learnt(self) -> "HideNseekConfig":
        if not is_chosen(self, "mask"):
            return self
        from fedsieve.masks.family import family_of, refuse_static

        family = family_of("hide-n-seek.mask", self.mask, refuse_static)
        given = f"hide-n-seek.mask: got {self.mask!r}"
        if family.scope == "row" and self.density < 1:
            raise ValueError(
                f"{given} with hide-n-seek.density = {self.density:g}, where pruning has already chosen among the "
                "inputs of a unit, allowed: with hide-n-seek.density = 1"
            )
        if self.aggregate == "vote" and len(family.alphabet) > 2:
            raise ValueError(f"{given} with hide-n-seek.aggregate = 'vote', allowed: a mask of two values")
        return self

    @model_validator(mode="after")
    def _pruner_is_there(self) -> "HideNseekConfig":
        if is_chosen(self, "pruner"):
            from fedsieve.masks.pruning import load_pruner

            load_pruner(self.pruner, "hide-n-seek.pruner")
        return self

    @model_validator(mode="after")
    def _magnitudes_differ(self) -> "HideNseekConfig":
        if self.pruner == "magnitude" and self.init == "signed-constant":
            raise ValueError(
                "hide-n-seek.pruner: got 'magnitude' with hide-n-seek.init = 'signed-constant', where all weights of a "
                "layer are of one size, allowed: with hide-n-seek.init = 'kaiming-normal'"
            )
        return self


ALGORITHM = Algorithm(
    summary="signs of frozen, pruned weights, about one bit a weight (reconstruction of Vallapuram et al. 2022)",
    config=HideNseekConfig,
    strategy="fedsieve.strategies.hide_n_seek:HideNseek",
    trainer="fedsieve.client.hide_n_seek:HideNseekTrainer",
    defaults={
        "graph": {"frozen-gain": 4.0, "local-epochs": 20},
        "images": {"frozen-gain": 1.0, "local-epochs": 5},
    },
)


def levels_of(family: "Family", broadcast: NDArray[np.int8]) -> list[NDArray[np.int8]]:
    """Return what the codec is told of each plane of bits; of signs the broadcast itself."""
    return family.levels(family.uncentred(broadcast / LEVELS))


def pack_broadcast(mean: NDArray[np.int8], aggregate: str) -> dict[str, NDArray[np.uint8] | NDArray[np.int8]]:
    """Return what the server sends of the mean sign: itself, or under `vote` one bit a weight."""
    return {"vote": np.packbits(mean >= 0)} if aggregate == "vote" else {"mean": mean}


def unpack_broadcast(received: dict[str, NDArray[np.uint8]], survivors: "Survivors") -> NDArray[np.int8]:
    """Return the mean sign, from -LEVELS to LEVELS, that `pack_broadcast` sent."""
    if "mean" in received:
        return received["mean"].astype(np.int8)
    bits = np.unpackbits(received["vote"], count=sum(survivors.layer_sizes))
    return np.where(bits == 1, LEVELS, -LEVELS).astype(np.int8)
