"""FedPM (Isik et al., ICLR 2023, arXiv 2209.15328): what its halves share.

The paper: "Sparse Random Networks for Communication-Efficient Federated Learning".
"""

from pydantic import Field

from fedsieve.algorithms import Algorithm, AlgorithmConfig
from fedsieve.masks.names import Init


class FedPMConfig(AlgorithmConfig):
    """Keys `fed-pm.*`; the paper's symbols: prior λ0 of α and β."""

    init: Init = Field(
        "signed-constant", description="the frozen weights: signed-constant, the paper's, or kaiming-normal"
    )
    frozen_gain: float = Field(
        0.0, ge=0.0, le=1e3, description="how large the frozen weights are, as a multiple of He's; 0: 1, on graphs 4"
    )
    prior: float = Field(
        1.0, ge=1.0, description="λ0, where α and β of the Beta distributions begin; 1 is the uniform prior"
    )
    reset: int = Field(
        0, ge=0, description="rounds after which α and β begin again at λ0; 0: 1 / fraction-train, rounded up"
    )


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
