"""Local-only training: what its halves share."""

from fedsieve.algorithms import Algorithm, AlgorithmConfig


class LocalConfig(AlgorithmConfig):
    """Local-only training has no keys of its own."""


ALGORITHM = Algorithm(
    summary="every client trains alone; nothing is sent",
    config=LocalConfig,
    strategy="fedsieve.strategies.local:Local",
    trainer="fedsieve.client.local:LocalTrainer",
)
