"""FedMask (Li et al., SenSys 2021): what its halves share.

The paper: "FedMask: Joint Computation and Communication-Efficient Personalized Federated Learning via Heterogeneous
Masking".
"""

from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from fedsieve.algorithms import Algorithm, AlgorithmConfig
from fedsieve.masks.names import Init, is_chosen

if TYPE_CHECKING:
    from fedsieve.masks.family import Family


class FedMaskConfig(AlgorithmConfig):
    """Keys `fed-mask.*`."""

    init: Init = Field(
        "kaiming-normal", description="the frozen weights: kaiming-normal, or signed-constant of the same deviation"
    )
    frozen_gain: float = Field(
        0.0, ge=0.0, le=1e3, description="how large the frozen weights are, as a multiple of He's; 0: 1, on graphs 4"
    )
    mask: str = Field("binary", description="the family of masks, one that is learnt: fedsieve list masks")
    restart: float = Field(
        0.1,
        gt=0.0,
        le=10.0,
        description="clients restart their latents at this times the mean mask, centred: 2·mean - 1 of {0,1}",
    )

    @model_validator(mode="after")
    def _mask_is_learnt(self) -> "FedMaskConfig":
        if is_chosen(self, "mask"):
            from fedsieve.masks.family import family_of, refuse_static

            family_of("fed-mask.mask", self.mask, refuse_static)
        return self

    @property
    def family(self) -> "Family":
        """The family that `mask` names."""
        from fedsieve.masks.family import family_of

        return family_of("fed-mask.mask", self.mask)


ALGORITHM = Algorithm(
    summary="a personal {0,1} mask over frozen weights, shared where masks overlap (Li et al., SenSys 2021)",
    config=FedMaskConfig,
    strategy="fedsieve.strategies.fed_mask:FedMask",
    trainer="fedsieve.client.fed_mask:FedMaskTrainer",
    defaults={
        "graph": {"frozen-gain": 4.0, "local-epochs": 20},
        "images": {"frozen-gain": 1.0, "local-epochs": 5},
    },
)
