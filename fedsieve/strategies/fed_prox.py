"""Server half of FedProx (Li et al., MLSys 2020, arXiv 1812.06127)."""

from typing import Any, Self

from pydantic import BaseModel

from fedsieve.allowed import check_arguments
from fedsieve.contract import Setting
from fedsieve.protocols.fed_prox import FedProxConfig
from fedsieve.strategies.fed_avg import FedAvg


class FedProx(FedAvg):
    """FedAvg's server half, as the paper says: the proximal term is the clients'.

    Args:
        proximal_mu: μ. Under Flower's own `start` clients are told it as `proximal-mu`, as Flower's FedProx tells them.
    """

    def __init__(self, *, proximal_mu: float = 0.01, **flower: Any) -> None:
        check_arguments(FedProxConfig, {"mu": proximal_mu}, prefix="proximal_")
        super().__init__(**flower)
        self.proximal_mu = proximal_mu

    @classmethod
    def for_run(cls, setting: Setting, keys: BaseModel, **others: Any) -> Self:
        """Return the strategy of a run, whose key is `fed-prox.mu`."""
        return super().for_run(setting, keys, proximal_mu=dict(keys)["mu"], **others)

    def client_config(self) -> dict[str, str | int | float]:
        """Return μ."""
        return {"proximal-mu": self.proximal_mu}
