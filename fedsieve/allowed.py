"""What a key may be, in words, from its pydantic field: for the sentence about a wrong value and for the documents."""

from typing import Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator
from pydantic.fields import FieldInfo

from fedsieve.keys import Key

TYPES: dict[object, str] = {str: "a string", bool: "true or false", int: "a whole number", float: "a number"}


def allowed(field: FieldInfo) -> str | None:
    """Return the whole of what a field may be, such as "a whole number, at least 1"; None if these words fall short."""
    if get_origin(field.annotation) is Literal:
        *others, last = map(repr, get_args(field.annotation))
        return f"{', '.join(others)} or {last}" if others else last
    bounds = [_bound(mark) for mark in field.metadata if not isinstance(mark, Key | AfterValidator)]
    if field.annotation not in TYPES or None in bounds:
        return None
    return ", ".join([TYPES[field.annotation], *filter(None, [" and ".join(map(str, bounds))])])


def _bound(bound: object) -> str | None:
    match bound:
        case Ge(ge=limit):
            return f"at least {_number(limit)}"
        case Gt(gt=limit):
            return f"above {_number(limit)}"
        case Le(le=limit):
            return f"at most {_number(limit)}"
        case Lt(lt=limit):
            return f"below {_number(limit)}"
    return None


def _number(limit: object) -> str:
    return f"{limit:,}".removesuffix(".0") if isinstance(limit, int | float) else str(limit)
