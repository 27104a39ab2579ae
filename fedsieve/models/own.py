"""A user's own network, by the dotted path of a function that makes it."""

import sys

from torch import nn

from fedsieve import objects
from fedsieve.errors import one_line
from fedsieve.models.trial import Examples, UnusableError, try_network


def load_network(path: str, input_shape: tuple[int, ...], num_classes: int, examples: Examples) -> nn.Module:
    """Return `make(input_shape, num_classes)` for the path `my_package.my_module:make`, tried on `examples`.

    Modules in the present folder are found as well as installed ones.

    Raises:
        ValueError: it cannot be imported or called, or no client could train it; one clause.
    """
    module = path.partition(":")[0]
    try:
        make = objects.find(path)
    except (AttributeError, ModuleNotFoundError) as error:
        raise ValueError(f"it cannot be imported: {one_line(error)}{_describe_origin(module)}") from error
    except Exception as error:  # a module may raise anything
        raise ValueError(f"it cannot be imported: {one_line(error)}") from error
    try:
        model = make(input_shape, num_classes)
        if not isinstance(model, nn.Module):
            raise UnusableError(f"it does not return a torch module whose logits are N x {num_classes}, float32")
        try_network(model, examples, num_classes)
    except UnusableError as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # it is the user's own code
        given = f"an input of shape {input_shape} and {num_classes} classes"
        raise ValueError(f"it fails for {given}: {type(error).__name__}: {one_line(error)}") from error
    return model


def _describe_origin(module: str) -> str:
    """Return which file a module's name stands for: it may be an installed one that hides the user's."""
    known = sys.modules.get(module) or sys.modules.get(module.partition(".")[0])
    return "" if known is None else f" ({known.__name__!r} is {getattr(known, '__file__', None) or 'built in'})"
