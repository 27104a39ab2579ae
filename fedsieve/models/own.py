"""A user's own network, by the dotted path of a function or class that makes it."""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from inspect import Parameter, signature
from typing import Any

from torch import nn

from fedsieve import objects
from fedsieve.config import RunConfig
from fedsieve.contract import Shape
from fedsieve.errors import one_line
from fedsieve.inputs import OF_EDGES, find_asked
from fedsieve.models.trial import Examples, UnusableError, try_network

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)

GRAPH_FORWARD = "allowed: forward(x, edge_index), and edge_weight or edge_attr besides"


def load_network(run: RunConfig, shape: Shape, examples: Examples) -> nn.Module:
    """Return the network that the path `run.model`, `my_package.my_module:make`, makes, tried on `examples`.

    Of images it is `make(input_shape, num_classes)`, of a graph `make(in_channels, out_channels)`; there a function or
    class is given by name what of `_list_widths` is in its signature, as PyG's models have it.

    Modules in the present folder are found as well as installed ones.

    Raises:
        ValueError: it cannot be imported or called, or no client could train it; one clause.
    """
    make, is_graph = _import(run.model), len(shape.input) == 1
    try:
        model = _bind(make, shape, run)() if is_graph else make(shape.input, shape.num_classes)
        if not isinstance(model, nn.Module):
            raise UnusableError(f"it does not return a torch module whose logits are N x {shape.num_classes}, float32")
        if is_graph:
            _check_forward(model, shape)
        try_network(model, examples, shape.num_classes)
    except UnusableError as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # it is the user's own code
        given = f"{shape.input[0]} features a node" if is_graph else f"an input of shape {shape.input}"
        fault = f"{type(error).__name__}: {one_line(error)}"
        raise ValueError(f"it fails for {given} and {shape.num_classes} classes: {fault}") from error
    return model


def _import(path: str) -> Callable[..., Any]:
    module = path.partition(":")[0]
    try:
        make: Callable[..., Any] = objects.find(path)
    except (AttributeError, ModuleNotFoundError) as error:
        raise ValueError(f"it cannot be imported: {one_line(error)}{_describe_origin(module)}") from error
    except Exception as error:  # a module may raise anything
        raise ValueError(f"it cannot be imported: {one_line(error)}") from error
    return make


def _list_widths(shape: Shape, run: RunConfig) -> dict[str, Any]:
    """Return what a graph network may ask for by name, as PyG names it."""
    return {
        "in_channels": shape.input[0],
        "hidden_channels": run.hidden_dim,
        "num_layers": run.num_layers,
        "out_channels": shape.num_classes,
        "dropout": run.dropout,
        "edge_dim": shape.edge_dim or None,
    }


def _bind(make: Callable[..., Any], shape: Shape, run: RunConfig) -> Callable[[], Any]:
    """Return the call that makes a graph network; an UnusableError if nothing is known for a parameter."""
    widths = _list_widths(shape, run)
    try:
        named: Mapping[str, Parameter] = signature(make).parameters
    except (TypeError, ValueError):
        named = {}
    if {"in_channels", "out_channels"} <= set(named):
        given = {name: value for name, value in widths.items() if name in named}
        if shape.edge_dim and "edge_dim" not in named and _passes_edge_dim(make, named):
            given["edge_dim"] = shape.edge_dim
        if lacking := [name for name in _list_needed(named) if name not in given]:
            raise UnusableError(
                f"it asks for {', '.join(lacking)}, allowed: {', '.join(widths)}, or a function "
                "make(in_channels, out_channels) that gives the rest"
            )
        return partial(make, **given)
    both = [shape.input[0], shape.num_classes]
    return partial(make, *([both[0], run.hidden_dim, both[1]] if len(_list_needed(named)) == 3 else both))


def _passes_edge_dim(make: Callable[..., Any], named: Mapping[str, Parameter]) -> bool:
    """Return whether a model of PyG's hands `edge_dim` on to layers that take it."""
    takes_any = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in named.values())
    return takes_any and getattr(make, "supports_edge_attr", False) is True


def _list_needed(named: Mapping[str, Parameter]) -> list[str]:
    """Return the parameters that have no default."""
    kinds = (*_POSITIONAL, Parameter.KEYWORD_ONLY)
    return [name for name, one in named.items() if one.kind in kinds and one.default is Parameter.empty]


def _check_forward(model: nn.Module, shape: Shape) -> None:
    """Raise an UnusableError for a forward that does not take a graph."""
    named = signature(model.forward).parameters
    positional = [name for name in named if named[name].kind in _POSITIONAL and name not in OF_EDGES]
    takes_any = any(parameter.kind is Parameter.VAR_POSITIONAL for parameter in named.values())
    needed = [name for name in _list_needed(named) if name not in (*positional[:2], *OF_EDGES)]
    if (len(positional) < 2 and not takes_any) or needed:
        odd = f"{', '.join(needed)} too" if needed else f"{', '.join(positional) or 'nothing'} alone"
        raise UnusableError(f"its forward asks for {odd}, {GRAPH_FORWARD}")
    if not shape.edge_dim and find_asked(model, model.forward).get("edge_attr"):
        raise UnusableError("its forward asks for edge_attr, which the data do not have, allowed: edge_attr=None")


def _describe_origin(module: str) -> str:
    """Return which file a module's name stands for: it may be an installed one that hides the user's."""
    known = sys.modules.get(module) or sys.modules.get(module.partition(".")[0])
    return "" if known is None else f" ({known.__name__!r} is {getattr(known, '__file__', None) or 'built in'})"
