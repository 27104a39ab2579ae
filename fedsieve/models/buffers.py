"""The buffers of a network: tensors that are no parameters, such as batch norm's running statistics."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from fedsieve.contract import Tensors

_CHANGING = "_fedsieve_changing_buffers"
"""The attribute under which a network keeps which of its buffers training changes, so that copies of it have it too."""

TYPES = (
    torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
    torch.bool,
)  # fmt: skip
"""What buffers that change can be: all of these travel and are in files."""


class Buffers:
    """The buffers of one network as it was built, persistent or not, by the names that `state_dict` has for them.

    To be made before masks are attached, which have buffers of their own.

    Args:
        model: the network.

    Attributes:
        initial: what they were when this was made.
        changing: names of those that training is known to change; see `note_changing`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._owners = [(path, module, dict(module._buffers)) for path, module in model.named_modules()]
        self._places: dict[str, tuple[nn.Module, str, Tensor]] = {
            f"{path}.{key}" if path else key: (module, key, tensor)
            for path, module, buffers in self._owners
            for key, tensor in buffers.items()
            if tensor is not None
        }
        self.initial: Tensors = {name: tensor.detach().clone() for name, (*_, tensor) in self._places.items()}
        noted: frozenset[str] = getattr(model, _CHANGING, frozenset())
        self.changing = [name for name, (module, *_) in self._places.items()
                         if name in noted or isinstance(module, _NormBase)]  # fmt: skip

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._places)

    @torch.no_grad()
    def load(self, values: Mapping[str, Tensor]) -> None:
        """Give the network these values, and the initial ones where there are none."""
        for _, module, buffers in self._owners:
            if isinstance(module._buffers, dict) and not _is_identical(module._buffers, buffers):
                module._buffers.clear()
                module._buffers.update(buffers)
        for name, (*_, tensor) in self._places.items():
            value = values.get(name, self.initial[name])
            if not is_same(tensor, value.to(tensor.device)):  # a constant may be a view that cannot be written to
                tensor.copy_(value)

    def values(self) -> Tensors:
        """Return copies of what the network has now.

        Raises:
            ValueError: it has others than it had, or of another shape or type; one clause.
        """
        now = {
            f"{path}.{key}" if path else key: tensor
            for path, module, _ in self._owners
            for key, tensor in module._buffers.items()
            if tensor is not None
        }
        if odd := sorted(now.keys() ^ self.initial.keys()):
            verb = "appears" if odd[0] in now else "goes"
            raise ValueError(f"its buffer {odd[0]} {verb} when the network runs, allowed: registered in __init__")
        for name, tensor in now.items():
            before = self.initial[name]
            if tensor.shape != before.shape or tensor.dtype != before.dtype:
                change = f"{_describe(before)} to {_describe(tensor)}"
                raise ValueError(f"its buffer {name} changes from {change}, allowed: buffers that keep shape and type")
        return {name: tensor.detach().clone() for name, tensor in now.items()}

    def changed(self) -> Tensors:
        """Return copies of those that training is known to change, and of others that are not the initial ones.

        Raises:
            ValueError: see `values`.
        """
        return {
            name: tensor
            for name, tensor in self.values().items()
            if name in self.changing or not is_same(tensor, self.initial[name])
        }

    @contextmanager
    def put_back(self) -> Iterator[None]:
        """Have the values after the block that are there before it."""
        before = self.values()
        try:
            yield
        finally:
            self.load(before)


def note_changing(model: nn.Module, names: Iterable[str]) -> None:
    """Note which of a network's buffers training changes, beside those of batch and instance norms."""
    setattr(model, _CHANGING, frozenset(names))


def is_same(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are the same, NaN included."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if torch.equal(one, other):
        return True
    nan = one.is_floating_point() or one.is_complex()
    return nan and bool(torch.isclose(one, other, rtol=0, atol=0, equal_nan=True).all())


def _is_identical(one: Mapping[str, Tensor | None], other: Mapping[str, Tensor | None]) -> bool:
    return one.keys() == other.keys() and all(one[key] is other[key] for key in one)


def _describe(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)}"
