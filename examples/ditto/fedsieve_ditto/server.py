"""Server half of Ditto: FedAvg's, because what the clients send is FedAvg's w_k."""

from fedsieve.algorithms import Algorithm
from fedsieve.strategies.fed_avg import FedAvg

from .client import DittoConfig, DittoTrainer

ALGORITHM = Algorithm(
    summary="a model of each client's own, held near FedAvg's (Li et al., ICML 2021)",
    config=DittoConfig,
    strategy=FedAvg,
    trainer=DittoTrainer,
    returns_weights=True,
)
