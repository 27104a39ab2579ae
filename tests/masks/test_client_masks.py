import numpy as np
import pytest
import torch
from torch import nn

from fedsieve.errors import UserError
from fedsieve.masks.client_masks import START, ClientMasks, FamilyMasks, PersonalMasks
from fedsieve.masks.family import family_of
from tests.helpers import config

WEIGHTS = {"weight": torch.tensor([[3.0, -1.0], [2.0, 4.0]])}


def families(name: str) -> FamilyMasks:
    return FamilyMasks(family_of("mask", name))


def begun(masks: ClientMasks) -> list[float]:
    return masks.initial(WEIGHTS, np.random.RandomState(0))["weight"].flatten().tolist()


def test_where_masks_begin():
    assert begun(PersonalMasks(0.5)) == [1, 1, 1, 1]
    assert begun(families("sign")) == pytest.approx([START] * 4)
    static = families("magnitude:0.5")
    begins = static.initial(WEIGHTS, np.random.RandomState(0))
    assert static.in_use(begins, ())["weight"].tolist() == [[1, 0], [0, 1]]


def test_what_weights_are_multiplied_by_when_the_model_is_used():
    latents = {"weight": torch.tensor([[0.7, -0.2, -0.9]])}
    assert PersonalMasks(0.5).in_use(latents, ())["weight"].tolist() == [pytest.approx([0.7, 0, -0.9])]
    assert families("sign").in_use(latents, ())["weight"].tolist() == [[1, -1, -1]]


def test_a_family_is_given_the_dimension_that_counts_outputs():
    latents = {"weight": torch.tensor([[4.0, 1.0], [3.0, 2.0]])}
    masks = families("1:2")
    assert masks.in_use(latents, ())["weight"].tolist() == [[1, 0], [1, 0]]
    assert masks.in_use(latents, {"weight"})["weight"].tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("masks", "real", "learnt"),
    [(PersonalMasks(0.0), True, True), (families("sign"), False, True), (families("magnitude:0.5"), False, False)],
)
def test_only_real_numbers_are_shrunk_and_only_what_is_learnt_is_trained(masks: ClientMasks, real: bool, learnt: bool):
    model = nn.Linear(2, 2)
    latents = masks.attach(model)
    assert (masks.real, masks.learnt) == (real, learnt)
    assert {name: latent.requires_grad for name, latent in latents.items()} == {"weight": learnt}


@pytest.mark.parametrize("algorithm", ["hide-n-seek", "fed-mask"])
def test_personal_masks_are_not_to_be_chosen_where_weights_are_frozen(algorithm: str):
    with pytest.raises(UserError, match=f"{algorithm}.mask: got 'personal'"):
        config({"algorithm": algorithm, f"{algorithm}.mask": "personal"})
