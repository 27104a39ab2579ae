"""LotteryFL (Li et al. 2020, arXiv 2008.03371): what its halves share.

The paper: "LotteryFL: Personalized and Communication-Efficient Federated Learning with Lottery Ticket Hypothesis on
Non-IID Datasets".
"""

from pydantic import Field, model_validator

from fedsieve.algorithms import Algorithm, AlgorithmConfig
from fedsieve.masks.names import is_chosen

BY_MAGNITUDE = "LotteryFL prunes the smallest weights step by step, down to lottery-fl.target"


class LotteryFLConfig(AlgorithmConfig):
    """Keys `lottery-fl.*`; the paper's symbols: pruning rate r_p, target r_target, threshold acc_threshold."""

    mask: str = Field("magnitude", description="the family of tickets; its definition leaves no other than magnitude")
    prune_step: float = Field(
        0.2, gt=0.0, lt=1.0, description="r_p: share of its remaining weights that a client prunes at once"
    )
    target: float = Field(0.9, ge=0.0, lt=1.0, description="r_target: share of the weights that is pruned at the end")
    accuracy_threshold: float = Field(
        0.5, ge=0.0, le=1.0, description="acc_threshold: validation accuracy as received from which a client prunes"
    )

    @model_validator(mode="after")
    def _mask_is_by_magnitude(self) -> "LotteryFLConfig":
        if is_chosen(self, "mask"):
            from fedsieve.masks.family import family_of
            from fedsieve.masks.static import Magnitude

            family_of("lottery-fl.mask", self.mask, lambda family: None if family == Magnitude() else BY_MAGNITUDE)
        return self


ALGORITHM = Algorithm(
    summary="each client trains a pruned part of one model, its own lottery ticket (Li et al. 2020)",
    config=LotteryFLConfig,
    strategy="fedsieve.strategies.lottery_fl:LotteryFL",
    trainer="fedsieve.client.lottery_fl:LotteryFLTrainer",
)
