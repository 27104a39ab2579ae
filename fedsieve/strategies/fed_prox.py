"""Server half of FedProx: FedAvg's, as its paper says."""

from fedsieve.algorithm import Algorithm
from fedsieve.client.fed_prox import FedProxConfig, FedProxTrainer
from fedsieve.strategies.fed_avg import FedAvg

ALGORITHM = Algorithm(
    summary="FedAvg whose clients are held near the global model (Li et al., MLSys 2020)",
    config=FedProxConfig,
    strategy=FedAvg,
    trainer=FedProxTrainer,
)
