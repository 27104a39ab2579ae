"""LotteryFL (Li et al. 2020, arXiv 2008.03371): what its halves share.

The paper: "LotteryFL: Personalized and Communication-Efficient Federated Learning with Lottery Ticket Hypothesis on
Non-IID Datasets".
"""

from pydantic import Field

from fedsieve.algorithms import Algorithm, AlgorithmConfig


class LotteryFLConfig(AlgorithmConfig):
    """Keys `lottery-fl.*`; the paper's symbols: pruning rate r_p, target r_target, threshold acc_threshold."""

    prune_step: float = Field(
        0.2, gt=0.0, lt=1.0, description="r_p: share of its remaining weights that a client prunes at once"
    )
    target: float = Field(0.9, ge=0.0, lt=1.0, description="r_target: share of the weights that is pruned at the end")
    accuracy_threshold: float = Field(
        0.5, ge=0.0, le=1.0, description="acc_threshold: validation accuracy as received from which a client prunes"
    )


ALGORITHM = Algorithm(
    summary="each client trains a pruned part of one model, its own lottery ticket (Li et al. 2020)",
    config=LotteryFLConfig,
    strategy="fedsieve.strategies.lottery_fl:LotteryFL",
    trainer="fedsieve.client.lottery_fl:LotteryFLTrainer",
)
