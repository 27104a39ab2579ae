"""The functional embedding of a network: what FED-PUB compares clients' models by."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from fedsieve.errors import UserError, one_line

_KNOWN = "_fedsieve_last_linear"
"""The attribute under which a network keeps its `LastLinear`, so that copies of it have it too."""


@dataclass(frozen=True)
class LastLinear:
    """Which of the calls of `torch.nn.functional.linear` in a network's forward give its logits.

    Attributes:
        calls: their places among all such calls; none where something else gives the logits.
        total: number of such calls.
    """

    calls: tuple[int, ...]
    total: int


def embedding_dim(model: nn.Module, inputs: Any) -> int:
    """Return the length of the model's functional embedding, by trying it on `inputs`.

    Raises:
        UserError: see `embed`.
    """
    try:
        return embed(model.eval(), inputs).numel()
    except UserError:
        raise
    except Exception as error:  # it is the user's own code
        fault = f"{type(error).__name__}: {one_line(error)}"
        raise UserError(
            f"model: {type(model).__name__} fails for the inputs that models are compared on: {fault}."
        ) from error


@torch.no_grad()
def embed(model: nn.Module, inputs: Any) -> Tensor:
    """Return the mean over `inputs` of the last hidden layer's output before its activation, of one dimension.

    FedSieve's own networks compute it themselves (`embed`). Of a user's own network it is the mean input of the linear
    layer that gives the logits, as it is, after whatever activation stands before it.

    Raises:
        UserError: no linear layer gives the logits of a user's own network.
    """
    if type(model).__module__.startswith(f"{__package__}."):  # a user's method of this name may do anything else
        embedding: Tensor = model.embed(inputs)  # type: ignore[operator]
        return embedding
    last = find_last_linear(model, inputs)
    if not last.calls:
        raise UserError(
            f"model: the logits of {type(model).__name__} are not those of a torch.nn.Linear, whose input would be its "
            "embedding, allowed: a network whose last layer is one."
        )
    with _Inputs(last.calls) as seen:
        model(inputs)
    if seen.total != last.total:
        raise UserError(
            f"model: {type(model).__name__} runs {seen.total} linear layers for some input and {last.total} for "
            "another, so that none is the last, whose input would be its embedding, allowed: always as many."
        )
    return torch.cat([inputs_.reshape(-1, inputs_.shape[-1]) for inputs_ in seen.inputs]).mean(0)


def find_last_linear(model: nn.Module, inputs: Any) -> LastLinear:
    """Return which linear calls give the logits; found once for a network, in eval mode and before masks are attached.

    Of the operations with a weight matrix, those are looked for from which the logits come without another between.
    Where several are linear, as with a shortcut around the last layer, the one that runs last counts, and all calls
    with its weight.
    """
    known: LastLinear | None = getattr(model, _KNOWN, None)
    if known is None:
        known = _find_last_linear(model, inputs)
        setattr(model, _KNOWN, known)
    return known


def _find_last_linear(model: nn.Module, inputs: Any) -> LastLinear:
    parameters = list(model.parameters())
    with torch.enable_grad(), _require_gradients(parameters), _Uses(parameters) as uses:
        logits = model(inputs)
    calls = [use for use in uses.seen if use.number is not None]
    nearest = _find_nearest(logits, {use.node: use for use in uses.seen if use.node is not None})
    last = max((use for use in nearest if use.number is not None), key=lambda use: use.number or 0, default=None)
    same = [use.number for use in nearest if last is not None and use.number is not None and use.weight == last.weight]
    return LastLinear(tuple(sorted(same)), len(calls))


@dataclass(frozen=True)
class _Use:
    """A call that takes a weight matrix: the node of what it returns, and its number if it is of `linear`."""

    node: Any
    weight: int
    number: int | None


class _Uses(TorchFunctionMode):
    """Notes each call that takes a parameter that is a matrix, or a view of one, and returns no such view."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        super().__init__()
        self.seen: list[_Use] = []
        self._matrices = {_find_address(parameter) for parameter in parameters if _is_matrix(parameter)}
        self._linear = 0

    def __torch_function__(
        self, func: Callable[..., Any], _: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call `func`."""
        result = func(*args, **(kwargs or {}))
        if func is linear:
            self.seen.append(
                _Use(result.grad_fn, _find_address(_get_argument(1, "weight", args, kwargs)), self._linear)
            )
            self._linear += 1
            return result
        taken = [_find_address(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        used = [memory for memory in taken if memory in self._matrices]
        for leaf in tree_leaves(result) if used else []:
            if isinstance(leaf, Tensor) and _find_address(leaf) not in self._matrices:
                self.seen.append(_Use(leaf.grad_fn, used[0], None))
        return result


class _Inputs(TorchFunctionMode):
    """Keeps the inputs of those calls of `linear` that are asked for, and counts all."""

    def __init__(self, calls: Iterable[int]) -> None:
        super().__init__()
        self.inputs: list[Tensor] = []
        self.total = 0
        self._calls = set(calls)

    def __torch_function__(
        self, func: Callable[..., Any], _: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call `func`."""
        if func is linear:
            if self.total in self._calls:
                self.inputs.append(_get_argument(0, "input", args, kwargs))
            self.total += 1
        return func(*args, **(kwargs or {}))


def _find_nearest(logits: Tensor, uses: Mapping[Any, _Use]) -> list[_Use]:
    """Return the uses from which the logits come without another between."""
    nearest, ahead, visited = [], [logits.grad_fn], set()
    while ahead:
        node = ahead.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        if node in uses:
            nearest.append(uses[node])
        else:
            ahead += [before for before, _ in node.next_functions]
    return nearest


@contextmanager
def _require_gradients(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Let all parameters, frozen ones too, have a gradient inside."""
    frozen = [parameter for parameter in parameters if not parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def _get_argument(place: int, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None) -> Tensor:
    value: Tensor = args[place] if len(args) > place else (kwargs or {})[name]
    return value


def _find_address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else 0


def _is_matrix(parameter: Tensor) -> bool:
    return sum(length > 1 for length in parameter.shape) > 1
