"""What a user's own network shows of itself when it is tried before a run: why clients could not share it, if so."""

import copy
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm

from fedsieve.contract import Tensors
from fedsieve.inputs import run_network
from fedsieve.masks.attach import MATRIX_DIM, attach_masks
from fedsieve.masks.synflow import one_thread
from fedsieve.models.buffers import TYPES, Buffers, is_same, note_changing
from fedsieve.models.embedding import find_last_layer, walk_back

_SMALLEST = "_fedsieve_smallest_batch"
"""The attribute under which a network keeps its `Smallest`, so that copies of it have it too."""

NORMALISED = {_SpectralNorm, SpectralNorm}
"""What may compute a layer's weight of another parameter, which is trained and carries the mask.

Not weight norm: a mask that sieves a whole row makes it divide 0 by 0.
"""

_ROUNDING = 1e-5
"""How far logits may be, as a share of the largest, from those of an equal computation."""

Examples = Callable[[int], Any]
"""Returns an input of so many examples."""


class UnusableError(Exception):
    """Clients could not share a network; why, in one clause."""


class Smallest(NamedTuple):
    """How many examples a network takes at least."""

    training: int = 1
    evaluation: int = 1


ONE = Smallest()


def smallest_batch(model: nn.Module) -> Smallest:
    """Return how many examples a network takes at least: 2 where a user's own fails for one, else 1."""
    smallest: Smallest = getattr(model, _SMALLEST, ONE)
    return smallest


def try_network(model: nn.Module, examples: Examples, num_classes: int) -> None:
    """Train a user's own network for a step, and leave its weights and buffers as they were.

    Raises:
        UnusableError: it would not train, or clients could not share it.
        Exception: what its own code raises.
    """
    with one_thread():  # the same bits on every machine, and little to do
        _try(model, examples, num_classes)


def _try(model: nn.Module, examples: Examples, num_classes: int) -> None:
    flags = {module: module.training for module in model.modules()}
    before = {name: buffer.detach().clone() for name, buffer in model.named_buffers() if not is_lazy(buffer)}
    if any(is_lazy(buffer) for buffer in model.buffers()):
        model.eval()  # a lazy batch norm has its initial statistics then, and in training others already
    _check_logits(run_network(model, examples(2)), num_classes)  # lazy layers get their weights
    _check_layers(model)
    buffers = Buffers(model)
    buffers.initial |= before
    _check_buffers(buffers)
    trial = _Trial(model, buffers, examples, num_classes)
    with torch.random.fork_rng(devices=[]):
        try:
            trial.check_training()
            with suppress(Exception):  # of what finds it; who needs it, tries it again and is told
                find_last_layer(model.eval(), examples(2))
            trial.check_memory()
            trial.check_reach()
            setattr(model, _SMALLEST, Smallest(*(1 if trial.takes_one(training) else 2 for training in (True, False))))
        finally:
            for module, training in flags.items():
                module.training = training
            trial.put_back()


def _check_layers(model: nn.Module) -> None:
    """Raise an UnusableError for layers that no client could train, or no two share."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    if lazy := [name for name, tensor in tensors if is_lazy(tensor)]:
        raise UnusableError(f"its layer of {lazy[0]} is lazy and was not run, so it has no shape")
    for path, module in model.named_modules():
        if fault := _find_recomputed(module):
            layer = path or type(module).__name__
            raise UnusableError(f"its layer {layer} {fault}, allowed: plain weights, spectral_norm")
        if getattr(module, "cached", False) is True:  # PyG's word for it
            raise UnusableError(
                f"its layer {path or type(module).__name__} keeps the first graph that it is given, and each client has"
                " its own, allowed: cached=False"
            )
    parameters = dict(model.named_parameters())
    if not any(parameter.dim() >= MATRIX_DIM for parameter in parameters.values()):
        raise UnusableError("it has no weight matrix to train")
    places = [parameter.data_ptr() for parameter in parameters.values() if parameter.numel()]
    if len(list(model.named_parameters(remove_duplicate=False))) > len(parameters) or len({*places}) < len(places):
        raise UnusableError("two of its layers share one weight, which a mask a layer cannot sieve")
    memory = {parameter.untyped_storage().data_ptr() for parameter in parameters.values() if parameter.numel()}
    for name, buffer in model.named_buffers():
        if buffer.numel() and buffer.untyped_storage().data_ptr() in memory:
            raise UnusableError(f"its buffer {name} is a view of a weight, which clients replace, allowed: a clone")
    if odd := [name for name, parameter in parameters.items() if parameter.dtype != torch.float32]:
        raise UnusableError(f"its {odd[0]} is {parameters[odd[0]].dtype}, allowed: torch.float32")


def _find_recomputed(module: nn.Module) -> str | None:
    """Return which weight of a layer is computed of other parameters before each use, a clause, None if none is."""
    if parametrize.is_parametrized(module):
        for name, chain in module.parametrizations.items():  # type: ignore[operator,union-attr]
            odd = [type(one).__name__.lstrip("_") for one in chain if type(one) not in NORMALISED]
            if odd:
                return f"has a parametrization on its {name}, {odd[0]}, where masks would be put"
    hooks = [type(hook) for hook in module._forward_pre_hooks.values()]
    for hook in hooks:
        if hook.__module__.startswith("torch.nn.utils.") and hook not in NORMALISED:
            name = hook.__name__
            return f"has a weight that torch.nn.utils computes again each time, {name}, where masks would be put"
    return None


def _check_buffers(buffers: Buffers) -> Tensors:
    """Return what the buffers are now; an UnusableError if clients could not keep them."""
    try:
        return buffers.values()
    except ValueError as fault:
        raise UnusableError(str(fault)) from fault


class _Trial:
    """Forwards of one network, each with the weights and buffers that it had at first."""

    def __init__(self, model: nn.Module, buffers: Buffers, examples: Examples, num_classes: int) -> None:
        self.model, self.examples, self.num_classes = model, examples, num_classes
        self._buffers = buffers
        self._weights = [(parameter, parameter.detach().clone()) for parameter in model.parameters()]
        self._before: dict[bool, Tensor] = {}

    def put_back(self) -> None:
        """Give the network its weights and buffers back, and forget gradients."""
        self._buffers.load({})
        for parameter, value in self._weights:
            parameter.data.copy_(value)
            parameter.grad = None

    def check_training(self) -> None:
        """Raise an UnusableError if nothing is trained, or buffers change so that clients could not keep them."""
        with torch.enable_grad():
            logits = self._logits(training=True)
            if not logits.requires_grad:
                raise UnusableError("its logits have no gradient, so that nothing is trained")
            if shape := self._find_unregistered(logits):
                raise UnusableError(
                    f"it uses a weight of shape {shape} that is none of its parameters, as of a layer in a plain list, "
                    "allowed: nn.ModuleList, nn.ParameterList"
                )
            cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64)).backward()  # type: ignore[no-untyped-call]
        for name, parameter in self.model.named_parameters():
            if parameter.grad is not None and parameter.grad.is_sparse:
                raise UnusableError(f"its {name} has a sparse gradient, which the optimisers cannot use")
        changing = self._find_changed()
        self._before = {True: logits.detach(), False: self._logits(training=False)}
        note_changing(self.model, changing | self._find_changed())

    def _find_unregistered(self, logits: Tensor) -> tuple[int, ...] | None:
        """Return the shape of a leaf with a gradient that no client would train, None if there is none."""
        known = {id(parameter) for parameter, _ in self._weights}
        leaves = (getattr(node, "variable", None) for node in walk_back(logits))
        return next((tuple(leaf.shape) for leaf in leaves if leaf is not None and id(leaf) not in known), None)

    def _find_changed(self) -> set[str]:
        """Return the names of the buffers that the last forward has changed."""
        now = _check_buffers(self._buffers)
        changed = {name for name, buffer in now.items() if not is_same(buffer, self._buffers.initial[name])}
        if odd := sorted(name for name in changed if now[name].dtype not in TYPES):
            allowed = ", ".join(str(dtype) for dtype in TYPES)
            raise UnusableError(f"its buffer {odd[0]} changes and is {now[odd[0]].dtype}, allowed: {allowed}")
        return changed

    @torch.no_grad()  # the last forwards: what they leave on the network can be copied, as what has gradients cannot
    def check_memory(self) -> None:
        """Raise an UnusableError if the logits depend on more than input, weights and buffers."""
        for training, before in self._before.items():
            if not _is_near(before, self._logits(training=training)):
                raise UnusableError(
                    "it gives other logits for the same input and weights the second time: it remembers something that "
                    "is no parameter and no buffer (register_buffer), or draws random numbers from another generator "
                    "than torch's default one"
                )

    @torch.no_grad()
    def check_reach(self) -> None:
        """Raise an UnusableError if a mask on a weight is not as if the weight were masked."""
        self.put_back()
        try:
            masked = copy.deepcopy(self.model)
        except RuntimeError:  # what the last forward has left on it has gradients
            return
        attach_masks(masked, lambda _: _Doubled())
        inputs = self.examples(2)
        with_masks = run_network(masked.eval(), inputs)
        self.put_back()
        for parameter, _ in self._weights:
            if parameter.dim() >= MATRIX_DIM:
                parameter.data.mul_(2)
        if not _is_near(with_masks, run_network(self.model.eval(), inputs)):
            raise UnusableError(
                "it takes a weight from elsewhere than its layer, from a list say, where a mask does not reach it, "
                "allowed: self.layer.weight"
            )

    @torch.no_grad()
    def takes_one(self, training: bool) -> bool:
        """Return whether one example is enough, in training or in evaluation."""
        self.put_back()
        try:
            logits = run_network(self.model.train(training), self.examples(1))
            _check_logits(logits, self.num_classes, count=1)
        except Exception:  # it is the user's own code
            return False
        return True

    def _logits(self, *, training: bool) -> Tensor:
        """Return the logits of two examples; an UnusableError if they are none, or the network changes its input."""
        self.put_back()
        inputs = self.examples(2)
        tensors = list(_find_tensors(inputs))
        before = [(tensor.detach().clone(), tensor._version, tensor.requires_grad) for tensor in tensors]
        torch.default_generator.manual_seed(0)
        logits = run_network(self.model.train(training), inputs)
        for tensor, (values, version, needed) in zip(tensors, before, strict=True):
            if tensor._version != version or tensor.requires_grad != needed or not is_same(tensor, values):
                raise UnusableError(
                    "its forward writes into its input, which other clients and later rounds use too, as x.add_(1) or "
                    "a first ReLU(inplace=True) does, allowed: x = x + 1, ReLU()"
                )
        _check_logits(logits, self.num_classes)
        tensor_of_logits: Tensor = logits
        return tensor_of_logits


class _Doubled(nn.Module):
    """Parametrization W -> 2 W."""

    def forward(self, weight: Tensor) -> Tensor:
        """Return twice the weight."""
        return weight * 2


def _check_logits(logits: Any, num_classes: int, count: int = 2) -> None:
    if not (isinstance(logits, Tensor) and logits.shape == (count, num_classes) and logits.dtype == torch.float32):
        raise UnusableError(f"it does not return a torch module whose logits are N x {num_classes}, float32")


def _find_tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors that an input consists of, a graph's too."""
    if isinstance(value, Tensor):
        yield value
    elif hasattr(value, "__dict__"):
        for part in vars(value).values():
            yield from _find_tensors(part)


def _is_near(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, 0, _ROUNDING * float(other.abs().max()), equal_nan=True)
