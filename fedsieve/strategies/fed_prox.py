"""Server half of FedProx (Li et al., MLSys 2020, arXiv 1812.06127)."""

from fedsieve.strategies.fed_avg import FedAvg


class FedProx(FedAvg):
    """FedAvg's server half, as the paper says: the proximal term is the clients'."""
