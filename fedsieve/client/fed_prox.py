"""Client half of FedProx."""

from collections.abc import Callable

from pydantic import Field
from torch import Tensor, nn

from fedsieve.algorithm import AlgorithmConfig
from fedsieve.client.fed_avg import FedAvgTrainer
from fedsieve.client.training import squared_distance
from fedsieve.config import RunConfig


class FedProxConfig(AlgorithmConfig):
    """Keys `fed-prox.*`."""

    mu: float = Field(0.01, ge=0.0, description="weight of the proximal term; the paper tries 0.001, 0.01, 0.1 and 1")


class FedProxTrainer(FedAvgTrainer):
    """FedAvg with the term μ/2·‖w - w_t‖² in the local loss (Li et al., MLSys 2020, arXiv 1812.06127, eq. 2)."""

    def __init__(self, run: RunConfig, config: FedProxConfig, model: nn.Module) -> None:
        super().__init__(run, config, model)
        self.mu = config.mu

    def penalty(self) -> Callable[[], Tensor]:
        """Return the proximal term around the weights just loaded."""
        received = {name: parameter.detach().clone() for name, parameter in self.weights.items()}
        return lambda: self.mu / 2 * squared_distance(self.weights, received)
