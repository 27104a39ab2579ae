import re
from collections.abc import Callable
from typing import Literal

import pytest
from pydantic import BaseModel, Field
from torch import nn

from fedsieve.allowed import allowed
from fedsieve.errors import UserError, one_line, suggest
from fedsieve.strategies import FedMask, FedPM, FedProx, FedPub, HideNseek


class Keys(BaseModel):
    anything: str
    switch: bool
    free: int
    floor: int = Field(ge=1)
    between: float = Field(gt=0.0, le=0.5)
    seed: int = Field(ge=0, lt=2**32)
    one: Literal["a"]
    three: Literal["a", "b", "c"]
    even: int = Field(ge=0, multiple_of=2)
    pattern: str = Field(pattern="a+")
    several: list[int]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("anything", "a string"),
        ("switch", "true or false"),
        ("free", "a whole number"),
        ("floor", "a whole number, at least 1"),
        ("between", "a number, above 0 and at most 0.5"),
        ("seed", "a whole number, at least 0 and below 4,294,967,296"),
        ("one", "'a'"),
        ("three", "'a', 'b' or 'c'"),
        # half of what is allowed would mislead
        ("even", None),
        ("pattern", None),
        ("several", None),
    ],
)
def test_the_whole_range_of_a_key_is_told_or_none_of_it(key: str, words: str | None):
    assert allowed(Keys.model_fields[key]) == words


def test_a_name_is_near_whatever_its_case_and_none_is_near_to_another_word():
    names = ["fed-pub", "fed-prox", "local"]
    assert suggest("FedPub", names) == " (did you mean fed-pub?)"
    assert suggest("locale", names, "x.") == " (did you mean x.local?)"
    assert suggest("scaffold", names) == ""


def test_an_error_is_told_on_one_line_that_is_not_long():
    assert one_line(ValueError("a\n  b\t\nc")) == "a b c"
    assert len(one_line(ValueError("a " * 1000))) == 200


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: FedPub(tau="3"), "tau: got '3', allowed: a number, at least 0."),
        (lambda: FedProx(proximal_mu=-1.0), "proximal_mu: got -1.0, allowed: a number, at least 0."),
        (lambda: FedPM(nn.Linear(2, 2), prior=0.5), "prior: got 0.5, allowed: a number, at least 1."),
        (lambda: FedMask(nn.Linear(2, 2), frozen_gain=-1), "frozen_gain: got -1, allowed: a number, at least 0"),
        (lambda: HideNseek(nn.Linear(2, 2), None, density=2.0), "density: got 2.0, allowed: a number, above 0"),
        (lambda: HideNseek(nn.Linear(2, 2), None, pruner="magnitude"), "hide-n-seek.pruner: got 'magnitude' with"),
    ],
)
def test_a_strategys_arguments_are_checked_as_the_keys_are(make: Callable[[], object], sentence: str):
    with pytest.raises(UserError, match=re.escape(sentence)):
        make()
