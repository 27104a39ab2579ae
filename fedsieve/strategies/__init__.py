"""Server halves: one algorithm, one file, each a Flower Strategy for any ServerApp; and their mathematics."""

from fedsieve.strategies.fed_avg import FedAvg
from fedsieve.strategies.fed_mask import FedMask
from fedsieve.strategies.fed_pm import FedPM
from fedsieve.strategies.fed_prox import FedProx
from fedsieve.strategies.fed_pub import FedPub
from fedsieve.strategies.hide_n_seek import HideNseek
from fedsieve.strategies.local import Local
from fedsieve.strategies.lottery_fl import LotteryFL

__all__ = ["FedAvg", "FedMask", "FedPM", "FedProx", "FedPub", "HideNseek", "Local", "LotteryFL"]
