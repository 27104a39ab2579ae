"""What every part agrees on: shapes and tensors, a client's task, trainer and results, replies, and names of metrics.

An algorithm is a pair: what the server does (a Flower Strategy, see `fedsieve.strategy`) and what a client does (a
`Trainer`). Both speak in the terms of this module, which imports nothing of FedSieve.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any, Literal, Protocol, Self, TypeVar, overload, runtime_checkable

import numpy as np
from torch import Tensor, nn

NDArray = np.ndarray[Any, np.dtype[Any]]

Arrays = dict[str, NDArray]
"""Named NumPy arrays: weights by plain parameter name, and whatever else an algorithm sends."""

Tensors = dict[str, Tensor]
"""Named tensors: weights by the model's own parameter names, or a client's state."""

STATE_LOST = "state-lost"
"""Metric, 1, of a client that starts from nothing because it does not have the state that it was to continue from."""

COUNT_OF = {
    "train-loss": "num-examples",
    "val-accuracy": "val-count",
    "test-accuracy": "test-count",
    "received-val-accuracy": "val-count",
    "received-test-accuracy": "test-count",
    "test-macro-f1": "test-count",
}
"""The metrics that every client reports, each with the count of the data it is taken on; without data it counts in no
mean."""

COUNTS = ("num-examples", "val-count", "test-count")

FRACTIONS = (
    "received-val-accuracy",
    "received-test-accuracy",
    "val-accuracy",
    "test-accuracy",
    "test-macro-f1",
    "mask-sparsity",
    STATE_LOST,
)
"""Metrics that lie between 0 and 1."""


@dataclass(frozen=True)
class Shape:
    """What the data decides about a network.

    Attributes:
        input: of one example: (F,), the length of a node's feature vector, or (C, H, W) of an image.
        num_classes: length of the logits.
        edge_dim: numbers that a graph's edge carries, D; 0: none.
    """

    input: tuple[int, ...]
    num_classes: int
    edge_dim: int = 0


Vector = TypeVar("Vector", Tensor, NDArray)


@dataclass(frozen=True)
class Layout:
    """How named arrays lie in one vector: one after the other, each row by row.

    Attributes:
        shapes: of each array, by name.
    """

    shapes: Mapping[str, Sequence[int]]

    @classmethod
    def of(cls, arrays: Mapping[str, Tensor] | Mapping[str, NDArray]) -> Self:
        """Return the layout of these arrays."""
        return cls({name: tuple(array.shape) for name, array in arrays.items()})

    @cached_property
    def sizes(self) -> list[int]:
        """Number of entries of each array."""
        return [math.prod(shape) for shape in self.shapes.values()]

    def split(self, vector: Vector) -> dict[str, Vector]:
        """Return the arrays of a vector, of their shapes; views.

        Raises:
            ValueError: the vector is of another length.
        """
        if len(vector) != self._ends[-1]:
            raise ValueError(f"a vector of {len(vector)} entries where {self._ends[-1]} are expected")
        bounds = pairwise(self._ends)
        return {
            name: vector[start:stop].reshape(tuple(shape))
            for (name, shape), (start, stop) in zip(self.shapes.items(), bounds, strict=True)
        }

    @cached_property
    def _ends(self) -> list[int]:
        return [0, *accumulate(self.sizes)]


@dataclass(frozen=True)
class Evaluation:
    """How one model does on one client's validation and test data; accuracies are fractions, 0 where a count is 0."""

    val_accuracy: float
    val_count: int
    test_accuracy: float
    test_count: int
    test_macro_f1: float


class Task(Protocol):
    """One client's data: hides from an algorithm whether the client holds a subgraph or images."""

    @property
    def num_examples(self) -> int:
        """Number of training examples."""

    @property
    def num_batches(self) -> int:
        """Number of batches that `batches` yields where there are training examples."""

    def batches(self) -> Iterator[Any]:
        """Yield the batches of one epoch; a random order is drawn from torch's default generator."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the model's mean training loss on `batch`."""

    def evaluate(self, model: nn.Module) -> Evaluation:
        """Put the model in eval mode and evaluate it on the client's validation and test data."""

    def functional_embedding(self, model: nn.Module) -> Tensor:
        """Return the model's mean hidden output, put in eval mode, on the run's random proxy input; one dimension."""


class Training(Protocol):
    """The keys of a run that its trainers read; `fedsieve.config.RunConfig` has them."""

    @property
    def seed(self) -> int:
        """From which every random draw derives."""

    @property
    def local_epochs(self) -> int:
        """Epochs that a sampled client trains per round."""

    @property
    def optimizer(self) -> Literal["adam", "sgd"]:
        """The clients' optimiser."""

    @property
    def lr(self) -> float:
        """Learning rate."""

    @property
    def momentum(self) -> float:
        """Momentum of sgd."""

    @property
    def weight_decay(self) -> float:
        """Weight decay."""


@dataclass(frozen=True)
class TrainResult:
    """What a `Trainer` gives back: `arrays` and `metrics` go to the server, `state` stays on the client."""

    arrays: Tensors
    metrics: dict[str, float]
    state: Tensors


class Trainer(Protocol):
    """The client half of an algorithm; it imports nothing of Flower, so it can be tested alone.

    It is made once per process, as `Trainer(run, config, model)`, and serves every client of that process. `model` is
    the process's resident network: each call loads one client's tensors into it. What a client remembers between rounds
    goes in and out as `state`; nothing of it stays in the trainer.
    """

    def __init__(self, run: Training, config: Any, model: nn.Module) -> None: ...

    def train(self, task: Task, received: Tensors, state: Tensors) -> TrainResult:
        """Load what was sent, evaluate it as received, train, evaluate the local model and answer.

        `received` holds the server's arrays, `state` what the last call returned for this client, empty the first
        time; both are the trainer's to change in place. Random draws come from torch's default generators, which the
        caller has seeded for this client and round.
        """

    def personal_model(self, state: Tensors) -> Tensors:
        """Return the weights of the client's own model by plain parameter name, masks folded in."""


@dataclass(frozen=True)
class Setting:
    """What a server half may need of the run that it is made for.

    Attributes:
        seed: of the run.
        fraction_train: of the clients, sampled per round.
        shape: what the clients' data decides about the network.
        network: returns a new network, its initial weights drawn from the seed.
        ones: returns an input of ones, of this type, as `fedsieve.inputs.run_network` gives it to the network.
        proxy: returns an input on which the network's embedding may be taken.
    """

    seed: int
    fraction_train: float
    shape: Shape
    network: Callable[[], nn.Module]
    ones: Callable[[Any], Any]
    proxy: Callable[[], Any]


@dataclass(frozen=True)
class Expected:
    """Shape and dtype that one array of a reply must have.

    Attributes:
        shape: the exact shape or, if `at_most`, one dimension of at most that length.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    at_most: bool = False

    @classmethod
    def like(cls, array: NDArray) -> "Expected":
        """Return what an array like `array` must be."""
        return cls(array.shape, array.dtype)

    @classmethod
    def up_to(cls, length: int, dtype: type[np.generic]) -> "Expected":
        """Return what a vector of unknown length must be, such as a code."""
        return cls((length,), np.dtype(dtype), at_most=True)

    @property
    def nbytes(self) -> int:
        """Bytes of the array, at most."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Reply:
    """One usable reply of a client that was sampled.

    Attributes:
        client: its stable id.
        arrays: what `unpack` has made of the arrays sent, read-only; a mapping, of which each array may be on disk.
        metrics: what the client reports.
        uplink_bytes: serialised bytes of the reply; payload: the arrays' values alone.
        buffers: the network's, where they are averaged; the round loop combines them, not the algorithm.
    """

    client: int
    arrays: Mapping[str, NDArray]
    metrics: dict[str, float]
    uplink_bytes: int = 0
    uplink_payload_bytes: int = 0
    buffers: Mapping[str, NDArray] = field(default_factory=dict)

    @property
    def num_examples(self) -> int:
        """Number of training examples, |D_k|."""
        return int(self.metrics["num-examples"])


@runtime_checkable
class Partial(Protocol):
    """Arrays of which a part can be had without the rest, because they are on disk."""

    def part(self, name: str, start: int, stop: int) -> NDArray:
        """Return the numbers from `start` to before `stop` of an array, flat."""


class Replies(Sequence[Reply]):
    """The usable replies of a round, sorted by client.

    An upload is read when its array is asked for, so that a round's uploads need not be in memory together: iterate, or
    take `columns`.
    """

    def __init__(self, replies: Sequence[Reply]) -> None:
        self._replies = sorted(replies, key=lambda reply: reply.client)

    @overload
    def __getitem__(self, index: int) -> Reply: ...
    @overload
    def __getitem__(self, index: slice) -> "Replies": ...
    def __getitem__(self, index: int | slice) -> "Reply | Replies":
        """Return one reply, or some of them."""
        return Replies(self._replies[index]) if isinstance(index, slice) else self._replies[index]

    def __len__(self) -> int:
        return len(self._replies)

    @property
    def clients(self) -> list[int]:
        """The clients' ids, ascending."""
        return [reply.client for reply in self._replies]

    @property
    def num_examples(self) -> list[int]:
        """Each client's number of training examples."""
        return [reply.num_examples for reply in self._replies]

    def columns(self, name: str, start: int, stop: int) -> NDArray:
        """Return the numbers from `start` to before `stop` of each client's array `name`, flat: K x (stop - start)."""
        return np.stack([_take_part(reply.arrays, name, start, stop) for reply in self._replies])


def _take_part(arrays: Mapping[str, NDArray], name: str, start: int, stop: int) -> NDArray:
    return arrays.part(name, start, stop) if isinstance(arrays, Partial) else arrays[name].reshape(-1)[start:stop]
