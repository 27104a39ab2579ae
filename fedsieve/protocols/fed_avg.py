"""FedAvg: what its halves share."""

from fedsieve.algorithms import Algorithm, AlgorithmConfig


class FedAvgConfig(AlgorithmConfig):
    """FedAvg has no keys of its own."""


ALGORITHM = Algorithm(
    summary="one global model, the mean of the clients' (McMahan et al., AISTATS 2017)",
    config=FedAvgConfig,
    strategy="fedsieve.strategies.fed_avg:FedAvg",
    trainer="fedsieve.client.fed_avg:FedAvgTrainer",
    returns_weights=True,
)
