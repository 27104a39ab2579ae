"""The functional embedding of a network: what FED-PUB compares clients' models by."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from fedsieve.errors import UserError, one_line
from fedsieve.inputs import Graph, call, run_network

_KNOWN = "_fedsieve_last_layer"
"""The attribute under which a network keeps its `LastLayer`, so that copies of it have it too."""


@dataclass(frozen=True)
class LastLayer:
    """Which layer of a network gives its logits.

    Attributes:
        calls: places of its calls of `torch.nn.functional.linear` among all such calls; none where it is no such layer.
        total: number of such calls.
        path: of a graph network where no linear call gives the logits, the module that does; "": none.
        alone: whether it is a graph network's only one with weights: what it is given says nothing of the network.
    """

    calls: tuple[int, ...] = ()
    total: int = 0
    path: str = ""
    alone: bool = False


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
    """Return the mean over `inputs` of the last hidden layer's output, of one dimension.

    FedSieve's own networks compute it themselves (`embed`), before its activation, and so may a user's graph network.
    Of all others it is the mean input of the layer that gives the logits, as it is, after whatever activation stands
    before it: a linear layer or, in a graph network, any. A graph network of one layer gives the mean logits.

    Raises:
        UserError: no such layer gives the logits, or the network's own `embed` returns something else.
    """
    if (own_embed := _find_embed(model, inputs)) is not None:
        return _average_nodes(model, call(model, own_embed, own_embed, inputs))
    last = find_last_layer(model, inputs)
    if last.alone:
        logits: Tensor = run_network(model, inputs)
        return _average(logits)
    if last.path:
        return torch.cat([_flatten(given) for given in _run_watched(model, inputs, last.path)]).mean(0)
    if not last.calls:
        name = type(model).__name__
        if isinstance(inputs, Graph):
            raise UserError(
                f"model: no layer of {name} gives its logits, whose input would be its embedding, allowed: a network "
                "that ends with a layer that has weights, or one with a method embed(x, edge_index)."
            )
        raise UserError(
            f"model: the logits of {name} are not those of a torch.nn.Linear, whose input would be its "
            "embedding, allowed: a network whose last layer is one."
        )
    with _Inputs(last.calls) as seen:
        run_network(model, inputs)
    if seen.total != last.total:
        raise UserError(
            f"model: {type(model).__name__} runs {seen.total} linear layers for some input and {last.total} for "
            "another, so that none is the last, whose input would be its embedding, allowed: always as many."
        )
    return torch.cat([_flatten(given) for given in seen.inputs]).mean(0)


def find_last_layer(model: nn.Module, inputs: Any) -> LastLayer:
    """Return which layer gives the logits; found once for a network, in eval mode and before masks are attached.

    Of the operations with a weight matrix, those are looked for from which the logits come without another between.
    Where several are linear, as with a shortcut around the last layer, the one that runs last counts, and all calls
    with its weight.
    """
    known: LastLayer | None = getattr(model, _KNOWN, None)
    if known is None:
        known = _find_last_layer(model, inputs)
        setattr(model, _KNOWN, known)
    return known


def walk_back(logits: Tensor, ends: Container[Any] = ()) -> Iterator[Any]:
    """Yield each node of autograd's graph from which the logits come, none beyond one of `ends`."""
    ahead, visited = [logits.grad_fn], set()
    while ahead:
        node = ahead.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        yield node
        if node not in ends:
            ahead += [before for before, _ in node.next_functions]


def _find_embed(model: nn.Module, inputs: Any) -> Callable[..., Any] | None:
    """Return the network's own embedding: FedSieve's, or a graph network's; for images a user's may do anything."""
    if not (type(model).__module__.startswith(f"{__package__}.") or isinstance(inputs, Graph)):
        return None
    return model.embed if callable(getattr(type(model), "embed", None)) else None  # type: ignore[return-value]


def _average_nodes(model: nn.Module, embedding: Any) -> Tensor:
    """Return what an `embed` has returned as a vector."""
    if not isinstance(embedding, Tensor) or embedding.dim() not in (1, 2) or not embedding.is_floating_point():
        given = tuple(embedding.shape) if isinstance(embedding, Tensor) else type(embedding).__name__
        raise UserError(
            f"model: embed of {type(model).__name__} returns {given}, allowed: a row of floating-point numbers a node, "
            "or their mean."
        )
    return embedding if embedding.dim() == 1 else _average(embedding)


def _flatten(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, tensor.shape[-1])


def _average(tensor: Tensor) -> Tensor:
    return _flatten(tensor).mean(0)


def _find_last_layer(model: nn.Module, inputs: Any) -> LastLayer:
    parameters = list(model.parameters())
    with torch.enable_grad(), _require_gradients(parameters):
        with _Uses(parameters) as uses:
            logits = run_network(model, inputs)
        calls = [use for use in uses.seen if use.number is not None]
        nearest = _find_nearest(logits, {use.node: use for use in uses.seen if use.node is not None})
        last = max((use for use in nearest if use.number is not None), key=lambda use: use.number or 0, default=None)
        if last is not None:
            same = [use for use in nearest if use.number is not None and use.weight == last.weight]
            alone = isinstance(inputs, Graph) and not any(use.learnt for use in same)
            return LastLayer(tuple(sorted(use.number or 0 for use in same)), len(calls), alone=alone)
        if not isinstance(inputs, Graph) or not nearest:
            return LastLayer(total=len(calls))
        final = max(nearest, key=uses.seen.index)
        for path in _list_holders(model, final.weight):
            if given := _run_watched(model, inputs, path):
                return LastLayer(path=path, alone=not any(tensor.requires_grad for tensor in given))
    return LastLayer(total=len(calls))


def _list_holders(model: nn.Module, weight: int) -> list[str]:
    """Return the paths of the module that holds a weight and of those around it, without the network itself."""
    for path, module in model.named_modules():
        if any(_find_address(parameter) == weight for parameter in module.parameters(recurse=False)):
            parts = path.split(".") if path else []
            return [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return []


def _run_watched(model: nn.Module, inputs: Any, path: str) -> list[Tensor]:
    """Run a network and return the first tensor that each call of one of its modules is given."""
    given: list[Tensor] = []

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
        given.extend(leaves[:1])

    hook = model.get_submodule(path).register_forward_pre_hook(note, with_kwargs=True)
    try:
        run_network(model, inputs)
    finally:
        hook.remove()
    return given


@dataclass(frozen=True)
class _Use:
    """A call that takes a weight matrix.

    Attributes:
        node: of what it returns.
        weight: where that lies.
        number: among the calls of `linear`, if it is one.
        learnt: whether a linear layer's input depends on a weight.
    """

    node: Any
    weight: int
    number: int | None
    learnt: bool = False


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
            weight = _find_address(_get_argument(1, "weight", args, kwargs))
            learnt = _get_argument(0, "input", args, kwargs).requires_grad
            self.seen.append(_Use(result.grad_fn, weight, self._linear, learnt))
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
    return [uses[node] for node in walk_back(logits, uses) if node in uses]


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
