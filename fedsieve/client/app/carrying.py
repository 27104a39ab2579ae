"""What a client does about its network's buffers, around every algorithm's trainer, which does not see them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from fedsieve.algorithms import load_algorithm
from fedsieve.client.training import add_prefix, take_prefix
from fedsieve.config import RunConfig
from fedsieve.contract import Evaluation, Task, Tensors, TrainResult
from fedsieve.models.buffers import Buffers

PREFIX = "fedsieve.buffers"
"""Before the names of buffers in a client's state; no algorithm's own."""


class CarryingTrainer:
    """An algorithm's trainer, each client of which has the network's buffers as its last training has left them.

    Before a client trains the network gets the client's own buffers, the initial ones at first, and over them those
    that the server has sent; after it they are in the client's state. Evaluation leaves them as they are.

    Args:
        run: the run's configuration.
        model: the network, without masks.
    """

    def __init__(self, run: RunConfig, model: nn.Module) -> None:
        self._buffers = Buffers(model)
        self._trainer = load_algorithm(run.algorithm).load_trainer()(run, run.settings, model)

    def train(
        self, task: Task, received: Tensors, state: Tensors, sent: Mapping[str, Tensor] | None = None
    ) -> tuple[TrainResult, Tensors]:
        """Return what the algorithm's `train` does, buffers in its state, and those to send: they have `sent`'s names.

        Raises:
            ArithmeticError: a buffer is not finite any more.
            ValueError: the network has other buffers than it had, or the server has sent others.
        """
        if not self._buffers:
            return self._trainer.train(task, received, state), {}
        sent = sent or {}
        if odd := sorted(name for name, tensor in sent.items() if not self._fits(name, tensor)):
            raise ValueError(f"the server has sent the buffer {odd[0]}, which is not one of the network's")
        self._buffers.load({**take_prefix(PREFIX, state), **sent})
        result = self._trainer.train(_StillTask(task, self._buffers), received, _without_buffers(state))
        after = self._buffers.changed()
        for name, tensor in after.items():
            if not _is_finite(tensor) and _is_finite(self._buffers.initial[name]):
                raise ArithmeticError(f"training diverged: the buffer {name} is not finite; a smaller lr may help")
        upload = {name: after.get(name, self._buffers.initial[name]) for name in sent}
        return replace(result, state={**result.state, **add_prefix(PREFIX, after)}), upload

    def personal_model(self, state: Tensors) -> tuple[Tensors, Tensors]:
        """Return the weights of the client's own model, and its buffers, those excepted that are the initial ones."""
        return self._trainer.personal_model(_without_buffers(state)), take_prefix(PREFIX, state)

    def _fits(self, name: str, tensor: Tensor) -> bool:
        before = self._buffers.initial.get(name)
        return before is not None and before.shape == tensor.shape and before.dtype == tensor.dtype


class _StillTask:
    """A client's task whose evaluations leave the network's buffers as they are, whatever its `forward` does."""

    def __init__(self, task: Task, buffers: Buffers) -> None:
        self._task, self._buffers = task, buffers

    @property
    def num_examples(self) -> int:
        """See `fedsieve.contract.Task`."""
        return self._task.num_examples

    @property
    def num_batches(self) -> int:
        """See `fedsieve.contract.Task`."""
        return self._task.num_batches

    def batches(self) -> Iterator[Any]:
        """See `fedsieve.contract.Task`."""
        return self._task.batches()

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """See `fedsieve.contract.Task`."""
        return self._task.loss(model, batch)

    def evaluate(self, model: nn.Module) -> Evaluation:
        """See `fedsieve.contract.Task`."""
        with self._buffers.put_back():
            return self._task.evaluate(model)

    def functional_embedding(self, model: nn.Module) -> Tensor:
        """See `fedsieve.contract.Task`."""
        with self._buffers.put_back():
            return self._task.functional_embedding(model)


def _without_buffers(state: Tensors) -> Tensors:
    return {name: tensor for name, tensor in state.items() if not name.startswith(f"{PREFIX}/")}


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or math.isfinite(float(tensor.double().sum()))
