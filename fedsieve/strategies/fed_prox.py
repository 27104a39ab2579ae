"""Server half of FedProx (Li et al., MLSys 2020, arXiv 1812.06127): FedAvg's, as the paper says."""

from fedsieve.algorithm import Algorithm
from fedsieve.client.fed_prox import FedProxConfig, FedProxTrainer
from fedsieve.strategies.fed_avg import FedAvg

ALGORITHM = Algorithm(
    summary="FedAvg whose clients are held near the global model (Li et al., MLSys 2020)",
    config=FedProxConfig,
    strategy=FedAvg,
    trainer=FedProxTrainer,
    returns_weights=True,
)
