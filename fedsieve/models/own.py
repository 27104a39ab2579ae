"""A user's own network, by the dotted path of a function that makes it."""

import importlib
import sys
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fedsieve.errors import one_line
from fedsieve.masks.attach import MATRIX_DIM


def own_network(path: str, input_shape: tuple[int, ...], num_classes: int, examples: Any) -> nn.Module:
    """Return `make(input_shape, num_classes)` for the path `my_package.my_module:make`, tried on `examples`.

    Modules in the present folder are found as well as installed ones.

    Raises:
        ValueError: it cannot be imported or called, or no client could train it; one clause.
    """
    module, _, name = path.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # at the end, where it hides no package
    try:
        make = getattr(importlib.import_module(module), name)
    except (AttributeError, ModuleNotFoundError) as error:
        raise ValueError(f"it cannot be imported: {one_line(error)}{_imported(module)}") from error
    except Exception as error:  # a module may raise anything
        raise ValueError(f"it cannot be imported: {one_line(error)}") from error
    try:
        model = make(input_shape, num_classes)
        logits = model(examples)
    except Exception as error:  # it is the user's own code
        given = f"an input of shape {input_shape} and {num_classes} classes"
        raise ValueError(f"it fails for {given}: {type(error).__name__}: {one_line(error)}") from error
    if not (isinstance(model, nn.Module) and isinstance(logits, Tensor) and logits.shape[1:] == (num_classes,)):
        raise ValueError(f"it does not return a torch module whose logits are N x {num_classes}")
    if fault := _fault(model):
        raise ValueError(fault)
    return model


def _imported(module: str) -> str:
    """Return which file a module's name stands for: it may be an installed one that hides the user's."""
    known = sys.modules.get(module) or sys.modules.get(module.partition(".")[0])
    return "" if known is None else f" ({known.__name__!r} is {getattr(known, '__file__', None) or 'built in'})"


def _fault(model: nn.Module) -> str | None:
    """Return why clients cannot share the network, None if they can."""
    if not any(parameter.dim() >= MATRIX_DIM for parameter in model.parameters()):
        return "it has no weight matrix to train"
    if len(list(model.named_parameters(remove_duplicate=False))) > len(list(model.parameters())):
        return "two of its layers share one weight, which a mask a layer cannot sieve"
    running = [name for name, buffer in model.named_buffers() if buffer.is_floating_point() and "running" in name]
    if running:
        return (
            f"{running[0]} changes in training and is no parameter, so clients cannot share it; "
            "use GroupNorm, or track_running_stats=False"
        )
    return None
