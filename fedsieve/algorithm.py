"""The contract of one algorithm, and how built-in ones and plug-ins are found alike.

An algorithm is a pair: what the server does (a Flower `Strategy`, see `strategies/base.py`) and what a client does (a
`Trainer`), with one frozen, validated configuration class. It is found through the entry-point group
`fedsieve.algorithms`, whose entries name an `Algorithm`; the built-in ones are registered in the same way.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from fedsieve import plugins
from fedsieve.data.kinds import Kind

if TYPE_CHECKING:
    from fedsieve.config import RunConfig
    from fedsieve.strategies.base import FederatedStrategy

ENTRY_POINTS = "fedsieve.algorithms"

Tensors = dict[str, Tensor]
"""Named tensors: weights by the model's own parameter names, or a client's state."""


def kebab(name: str) -> str:
    """Return the key that users write for the field `name`: `num_clients` is `num-clients`."""
    return name.replace("_", "-")


class AlgorithmConfig(BaseModel):
    """An algorithm's own keys: `fed-pub.tau` is the field `tau` of the class that `fed-pub` registers."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", alias_generator=kebab, populate_by_name=True, allow_inf_nan=False
    )


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


@dataclass(frozen=True)
class TrainResult:
    """What a `Trainer` gives back: `arrays` and `metrics` go to the server, `state` stays on the client."""

    arrays: Tensors
    metrics: dict[str, float]
    state: Tensors


class Trainer(Protocol):
    """The client half of an algorithm; it imports nothing of Flower, so it can be tested alone.

    It is made once a process, as `Trainer(run, config, model)`, and serves every client of that process. `model` is the
    process's resident network: each call loads one client's tensors into it. What a client remembers between rounds
    goes in and out as `state`; nothing of it stays in the trainer.
    """

    def __init__(self, run: "RunConfig", config: Any, model: nn.Module) -> None: ...

    def train(self, task: Task, received: Tensors, state: Tensors) -> TrainResult:
        """Load what was sent, evaluate it as received, train, evaluate the local model and answer.

        `received` holds the server's arrays, `state` what the last call returned for this client, empty the first
        time; both are the trainer's to change in place. Random draws come from torch's default generators, which the
        caller has seeded for this client and round.
        """

    def personal_model(self, state: Tensors) -> Tensors:
        """Return the weights of the client's own model by plain parameter name, masks folded in."""


@dataclass(frozen=True)
class Algorithm:
    """What an entry of the group `fedsieve.algorithms` names.

    Attributes:
        defaults: values this algorithm needs, by kind of data, for keys of the run that a user leaves open.
        returns_weights: a client answers with the very arrays that it was sent, trained on, and nothing else: such
            uploads can be clipped and noised, `dp-clip`.
    """

    summary: str
    config: type[AlgorithmConfig]
    strategy: "type[FederatedStrategy[Any]]"
    trainer: type[Trainer]
    defaults: Mapping[Kind, Mapping[str, int | float]] = field(default_factory=dict)
    returns_weights: bool = False


def algorithm_names() -> list[str]:
    """Return the sorted names of all installed algorithms, without importing them."""
    return plugins.names(ENTRY_POINTS)


def load_algorithm(name: str) -> Algorithm:
    """Import the algorithm registered as `name`.

    Raises:
        UserError: nobody has registered that name, or two packages have, or what is registered cannot be used.
    """
    algorithm = plugins.load(ENTRY_POINTS, name, "algorithm", _faults)
    assert isinstance(algorithm, Algorithm)
    return algorithm


def _faults(found: object) -> Iterator[str]:
    """Yield what makes a registered object unusable as an algorithm, a clause each."""
    from fedsieve.strategies.base import FederatedStrategy  # which needs this module

    if not isinstance(found, Algorithm):
        yield "is not a fedsieve.algorithm.Algorithm"
        return
    if not _is_a(found.config, AlgorithmConfig):
        yield f"has the config {found.config!r}, allowed: a subclass of fedsieve.algorithm.AlgorithmConfig"
        return
    if not found.config.model_config.get("frozen"):
        yield f"has a config, {found.config.__name__}, that is not frozen"
    for key, described in found.config.model_fields.items():
        if described.is_required():
            yield f"has a key without a default, {kebab(key)}"
    if not _is_a(found.strategy, FederatedStrategy):
        yield f"has the strategy {found.strategy!r}, allowed: a subclass of fedsieve.strategies.base.FederatedStrategy"
    for method in sorted(getattr(found.strategy, "__abstractmethods__", ())):
        yield f"has a strategy without {method}"
    for method in ("train", "personal_model"):
        if not callable(getattr(found.trainer, method, None)):
            yield f"has a trainer without {method}"


def _is_a(found: object, wanted: type) -> bool:
    return isinstance(found, type) and issubclass(found, wanted)
