"""Client half of FedProx."""

from collections.abc import Callable

from torch import Tensor, nn

from fedsieve.client.fed_avg import FedAvgTrainer
from fedsieve.client.training import squared_distance
from fedsieve.contract import Training
from fedsieve.protocols.fed_prox import FedProxConfig


class FedProxTrainer(FedAvgTrainer):
    """FedAvg with the term μ/2·‖w - w_t‖² in the local loss (Li et al., MLSys 2020, arXiv 1812.06127, eq. 2)."""

    def __init__(self, run: Training, config: FedProxConfig, model: nn.Module) -> None:
        super().__init__(run, config, model)
        self.mu = config.mu

    def penalty(self) -> Callable[[], Tensor]:
        """Return the proximal term around the weights just loaded."""
        received = {name: parameter.detach().clone() for name, parameter in self.weights.items()}
        return lambda: self.mu / 2 * squared_distance(self.weights, received)
