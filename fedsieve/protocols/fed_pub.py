"""FED-PUB (Baek et al., "Personalized Subgraph Federated Learning", ICML 2023): what its halves share."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from fedsieve.algorithms import Algorithm, AlgorithmConfig
from fedsieve.masks.names import is_chosen

if TYPE_CHECKING:
    from fedsieve.masks.client_masks import ClientMasks

PERSONAL = "personal"

EMBEDDING = "functional-embedding"
"""Name of h_k among the arrays sent."""


class FedPubConfig(AlgorithmConfig):
    """Keys `fed-pub.*`; the paper's symbols are in ALGORITHMS' notation: similarity temperature τ, masks μ."""

    tau: float = Field(
        3.0, ge=0.0, description="τ of exp(τ·cos); the paper: 3 for disjoint, 5 for overlapping subgraphs"
    )
    sparsity: Literal["none", "subgradient", "proximal"] = Field(
        "proximal",
        description="none: the published code, no regulariser has a gradient; subgradient: the printed loss; "
        "proximal: soft thresholding of a personal mask after each step",
    )
    lambda1: float = Field(1e-3, ge=0.0, description="λ1 of λ1·‖μ‖₁, for sparsity = subgradient")
    lambda2: float = Field(1e-3, ge=0.0, description="λ2 of λ2·‖θ - θ̄‖², for sparsity = subgradient or proximal")
    prox: float = Field(
        0.3, ge=0.0, description="λ: masks shrink by lr·λ·(mean|W| / |W|)^γ after each step, for sparsity = proximal"
    )
    prox_power: float = Field(1.0, ge=0.0, description="γ: 0 shrinks all entries alike, 1 spares large weights")
    threshold: float = Field(
        1e-3, ge=0.0, le=1e6, description="mask entries below this count as 0 when the model is used"
    )
    mask: str = Field(PERSONAL, description="personal: the paper's real-valued mask; or a family: fedsieve list masks")

    @model_validator(mode="after")
    def _mask_is_possible(self) -> "FedPubConfig":
        if is_chosen(self, "mask") and not self.masks.real and self.sparsity == "subgradient":
            raise ValueError(
                f"fed-pub.mask: got {self.mask!r} with fed-pub.sparsity = 'subgradient', whose λ1 term is of "
                "real-valued masks, allowed: 'personal', or with fed-pub.sparsity = 'none' or 'proximal'"
            )
        return self

    @property
    def masks(self) -> "ClientMasks":
        """The masks that `mask` names."""
        from fedsieve.masks.client_masks import FamilyMasks, PersonalMasks
        from fedsieve.masks.family import family_of

        if self.mask == PERSONAL:
            return PersonalMasks(self.threshold)
        return FamilyMasks(family_of("fed-pub.mask", self.mask, besides=[PERSONAL]))


ALGORITHM = Algorithm(
    summary="a model for each client, mixed by similarity, with a personal mask (Baek et al., ICML 2023)",
    config=FedPubConfig,
    strategy="fedsieve.strategies.fed_pub:FedPub",
    trainer="fedsieve.client.fed_pub:FedPubTrainer",
)
