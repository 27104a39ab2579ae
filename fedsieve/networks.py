"""Which networks have a name, for which kind of data; asked early, so torch is not imported."""

from fedsieve.catalogue import GRAPH_MODELS, IMAGE_MODELS
from fedsieve.errors import UserError, suggest
from fedsieve.kinds import Kind, is_named, tell_kind
from fedsieve.paths import expand

_OF_KIND: dict[Kind, dict[str, str]] = {"graph": GRAPH_MODELS, "images": IMAGE_MODELS}


def is_own(model: str) -> bool:
    """Return whether a network is a user's own, by the path `my_package.my_module:my_function`."""
    return ":" in model


def check_network(model: str, kind: Kind | None = None) -> None:
    """Raise a `UserError` unless a network of that name is for this kind of data; None: for any."""
    allowed = [name for of, names in _OF_KIND.items() if kind in (None, of) for name in names]
    if not is_own(model) and model not in allowed:
        data = f" for {kind.removesuffix('s')} data" if kind else ""
        raise UserError(
            f"model: got {model!r}{suggest(model, allowed)}, allowed{data}: {', '.join(allowed)}, "
            "or your own, as my_package.my_module:my_function."
        )


def check_fits(model: str, dataset: str) -> None:
    """Raise a `UserError` for a network that is not for the data that are named, if there are such data."""
    if is_named(dataset) or (dataset and expand(dataset).exists()):
        check_network(model, tell_kind(dataset))
