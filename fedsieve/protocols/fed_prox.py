"""FedProx: what its halves share."""

from pydantic import Field

from fedsieve.algorithms import Algorithm, AlgorithmConfig


class FedProxConfig(AlgorithmConfig):
    """Keys `fed-prox.*`."""

    mu: float = Field(0.01, ge=0.0, description="weight of the proximal term; the paper tries 0.001, 0.01, 0.1 and 1")


ALGORITHM = Algorithm(
    summary="FedAvg whose clients are held near the global model (Li et al., MLSys 2020)",
    config=FedProxConfig,
    strategy="fedsieve.strategies.fed_prox:FedProx",
    trainer="fedsieve.client.fed_prox:FedProxTrainer",
    returns_weights=True,
)
