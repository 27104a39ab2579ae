"""What a key may be, in words, from its pydantic field: for the sentence about a wrong value and for the documents."""

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, BaseModel, ValidationError
from pydantic.fields import FieldInfo

from fedsieve.errors import UserError
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


def check_arguments(schema: type[BaseModel], given: Mapping[str, Any], prefix: str = "") -> None:
    """Raise a `UserError` for the first of a strategy's arguments that the schema of the algorithm's keys refuses.

    Args:
        schema: of the algorithm's keys.
        given: the arguments' values, by the names of the schema's fields.
        prefix: what the strategy's own names have before those.
    """
    try:
        schema.model_validate(given, by_name=True)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        if fault["type"] == "value_error":
            raise UserError(f"{fault['ctx']['error']!s}.") from None
        name = str(fault["loc"][0])
        words = allowed(schema.model_fields[name]) or fault["msg"].removeprefix("Input should be ")
        raise UserError(f"{prefix}{name}: got {fault['input']!r}, allowed: {words}.") from None


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
