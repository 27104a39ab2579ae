"""What keys say of masks, named without importing any: families and pruners, and of frozen weights."""

import re
from typing import Literal

from pydantic import BaseModel

FAMILIES, PRUNERS = "fedsieve.masks", "fedsieve.pruners"
"""Groups of entry points."""

Init = Literal["kaiming-normal", "signed-constant"]
"""How frozen weights are drawn."""

ITERATIONS = 100
"""SynFlow's number of steps (Tanaka et al. 2020)."""

_N_OF_M = re.compile(r"\d+:\d+")
"""`2:4` is short for `nm:2:4`."""


def family_and_parameter(given: str) -> tuple[str, str]:
    """Return the family and the parameter that `NAME`, `NAME:PARAMETER`, or `N:M` for `nm:N:M` names."""
    name, _, parameter = (f"nm:{given}" if _N_OF_M.fullmatch(given) else given).partition(":")
    return name, parameter


def is_chosen(config: BaseModel, field: str) -> bool:
    """Return whether a field has another value than its default, which needs no check."""
    return bool(getattr(config, field) != type(config).model_fields[field].default)
