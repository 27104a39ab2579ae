"""FedPM (Isik et al., ICLR 2023, arXiv 2209.15328): what its halves share.

The paper: "Sparse Random Networks for Communication-Efficient Federated Learning".
"""

from pydantic import Field, model_validator

from fedsieve.algorithms import Algorithm, AlgorithmConfig
from fedsieve.masks.names import Init, is_chosen

DRAWN = "FedPM learns how likely a weight is to be kept, and draws masks of 0 and 1 by that"


class FedPMConfig(AlgorithmConfig):
    """Keys `fed-pm.*`; the paper's symbols: prior λ0 of α and β."""

    init: Init = Field(
        "signed-constant", description="the frozen weights: signed-constant, the paper's, or kaiming-normal"
    )
    frozen_gain: float = Field(
        0.0, ge=0.0, le=1e3, description="how large the frozen weights are, as a multiple of He's; 0: 1, on graphs 4"
    )
    mask: str = Field("binary", description="the family of masks; its definition leaves no other than binary")
    prior: float = Field(
        1.0, ge=1.0, description="λ0, where α and β of the Beta distributions begin; 1 is the uniform prior"
    )
    reset: int = Field(
        0, ge=0, description="rounds after which α and β begin anew at λ0; 0: 1 / fraction-train, rounded up"
    )

    @model_validator(mode="after")
    def _mask_is_binary(self) -> "FedPMConfig":
        if is_chosen(self, "mask"):
            from fedsieve.masks.families import Binary
            from fedsieve.masks.family import family_of

            family_of("fed-pm.mask", self.mask, lambda family: None if family == Binary() else DRAWN)
        return self


ALGORITHM = Algorithm(
    summary="the chance of every frozen weight to be kept, learnt from random masks (Isik et al., ICLR 2023)",
    config=FedPMConfig,
    strategy="fedsieve.strategies.fed_pm:FedPM",
    trainer="fedsieve.client.fed_pm:FedPMTrainer",
    defaults={
        "graph": {"frozen-gain": 4.0, "local-epochs": 20, "lr": 0.1},
        "images": {"frozen-gain": 1.0, "local-epochs": 5, "lr": 0.1},
    },
)
