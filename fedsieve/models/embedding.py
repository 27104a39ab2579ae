"""The functional embedding of a network: what FED-PUB compares clients' models by."""

from typing import Any

import torch
from torch import Tensor, nn

from fedsieve.errors import UserError


def embedding_dim(model: nn.Module) -> int:
    """Return the length of the model's functional embedding: the width of its last linear layer's input."""
    return _last_linear(model).in_features


@torch.no_grad()
def embed(model: nn.Module, inputs: Any) -> Tensor:
    """Return the mean over `inputs` of the last hidden layer's output before its activation, of shape embedding_dim.

    FedSieve's own networks compute it themselves (`embed`). Of a user's own network the mean input of its last linear
    layer is taken as it is, after whatever activation stands before it.
    """
    if hasattr(type(model), "embed"):  # a method; a user's module may have a layer of that name
        embedding: Tensor = model.embed(inputs)  # type: ignore[operator]
        return embedding
    seen: list[Tensor] = []
    hook = _last_linear(model).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        model(inputs)
    finally:
        hook.remove()
    return seen[-1].flatten(0, -2).mean(0)


def _last_linear(model: nn.Module) -> nn.Linear:
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UserError(f"model: {type(model).__name__} has no torch.nn.Linear, whose input would be its embedding.")
    return linear[-1]
