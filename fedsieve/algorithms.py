"""The registry of algorithms: what an entry of the group `fedsieve.algorithms` names, and how one is found.

Built-in algorithms, plug-ins and Flower's own strategies are found alike, by name, and handed over as an `Algorithm`.
Neither looking one up nor validating its keys imports torch: the halves may be named instead of imported.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from fedsieve import plugins
from fedsieve.errors import UserError, near, one_line
from fedsieve.kinds import Kind

if TYPE_CHECKING:
    from fedsieve.contract import Trainer
    from fedsieve.strategy import FederatedStrategy

ENTRY_POINTS = "fedsieve.algorithms"


def kebab(name: str) -> str:
    """Return the key that users write for the field `name`: `num_clients` is `num-clients`."""
    return name.replace("_", "-")


class AlgorithmConfig(BaseModel):
    """An algorithm's own keys: `fed-pub.tau` is the field `tau` of the class that `fed-pub` registers."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", alias_generator=kebab, populate_by_name=True, allow_inf_nan=False
    )


@dataclass(frozen=True)
class Algorithm:
    """What an entry of the group `fedsieve.algorithms` names.

    Attributes:
        summary: one line, for `fedsieve list algorithms`.
        config: the algorithm's own keys.
        strategy: its server half, a subclass of `fedsieve.strategy.FederatedStrategy`, or "module:Class".
        trainer: its client half, a `fedsieve.contract.Trainer`, or "module:Class".
        defaults: values this algorithm needs, by kind of data, for keys of the run, or of its own, that a user leaves
            open.
        returns_weights: a client answers with the very arrays that it was sent, trained on, and nothing else: such
            uploads can be clipped and noised, `dp-clip`.
    """

    summary: str
    config: type[AlgorithmConfig]
    strategy: "type[FederatedStrategy] | str"
    trainer: "type[Trainer] | str"
    defaults: Mapping[Kind, Mapping[str, int | float]] = field(default_factory=dict)
    returns_weights: bool = False

    def load_strategy(self) -> "type[FederatedStrategy]":
        """Import the server half.

        Raises:
            UserError: it cannot be imported, or is no strategy that a run can use.
        """
        from fedsieve.strategy import FederatedStrategy

        strategy = _imported(self.strategy)
        if not _is_a(strategy, FederatedStrategy):
            allowed = "a subclass of fedsieve.strategy.FederatedStrategy"
            raise UserError(f"algorithm: the strategy {strategy!r} cannot be used, allowed: {allowed}.")
        if methods := sorted(getattr(strategy, "__abstractmethods__", ())):
            raise UserError(f"algorithm: the strategy {strategy.__name__} has no {methods[0]}.")
        return strategy  # type: ignore[no-any-return]

    def load_trainer(self) -> "type[Trainer]":
        """Import the client half.

        Raises:
            UserError: it cannot be imported, or is no trainer.
        """
        trainer = _imported(self.trainer)
        for method in ("train", "personal_model"):
            if not callable(getattr(trainer, method, None)):
                raise UserError(f"algorithm: the trainer {trainer!r} has no {method}.")
        return trainer  # type: ignore[no-any-return]


@dataclass(frozen=True)
class AlgorithmFamily:
    """An entry that stands for several algorithms, each named `ENTRY:MEMBER`, whose keys are all prefixed by `ENTRY`.

    Attributes:
        members: names of the members.
        make: returns the algorithm of a member.
    """

    members: Sequence[str]
    make: Callable[[str], Algorithm]


def section_of(name: str) -> str:
    """Return the prefix of an algorithm's own keys: its name, or of `flwr:FedAdam` the family's, `flwr`."""
    return name.partition(":")[0]


def algorithm_names() -> list[str]:
    """Return the sorted names of all installed algorithms; of a family, whose members are only known once it is
    imported, the name alone.
    """
    return plugins.names(ENTRY_POINTS)


def all_algorithm_names() -> list[str]:
    """Return the sorted names of all installed algorithms, each member of a family included."""
    return [full for name in algorithm_names() for full in _members(name)]


@cache
def load_algorithm(name: str) -> Algorithm:
    """Import the algorithm registered as `name`.

    Raises:
        UserError: nobody has registered that name, or two packages have, or what is registered cannot be used.
    """
    entry, colon, member = name.partition(":")
    registered = plugins.load(ENTRY_POINTS, entry, "algorithm", _faults)
    if isinstance(registered, Algorithm):
        if colon:
            raise UserError(f"algorithm: got {name!r}, allowed: {entry!r}, which has no members.")
        return registered
    assert isinstance(registered, AlgorithmFamily)
    if member not in registered.members:
        members = [f"{entry}:{one}" for one in registered.members]
        raise UserError(f"algorithm: got {name!r}{near(name, members)}, allowed: {', '.join(members)}.")
    return registered.make(member)


def _members(name: str) -> list[str]:
    try:
        registered = plugins.load(ENTRY_POINTS, name, "algorithm", _faults)
    except UserError:
        return [name]  # one that is broken does not hide the others
    return [f"{name}:{one}" for one in registered.members] if isinstance(registered, AlgorithmFamily) else [name]


def _faults(registered: object) -> Iterator[str]:
    """Yield what makes a registered object unusable as an algorithm, a clause each."""
    if isinstance(registered, AlgorithmFamily):
        return
    if not isinstance(registered, Algorithm):
        yield "is not a fedsieve.algorithms.Algorithm"
        return
    if not _is_a(registered.config, AlgorithmConfig):
        yield f"has the config {registered.config!r}, allowed: a subclass of fedsieve.algorithms.AlgorithmConfig"
        return
    if not registered.config.model_config.get("frozen"):
        yield f"has a config, {registered.config.__name__}, that is not frozen"
    for key, described in registered.config.model_fields.items():
        if described.is_required():
            yield f"has a key without a default, {kebab(key)}"
    for load in (registered.load_strategy, registered.load_trainer):
        half = registered.strategy if load == registered.load_strategy else registered.trainer
        if isinstance(half, str):  # imported when a run needs it
            continue
        try:
            load()
        except UserError as error:
            yield f"cannot be used: {str(error).removeprefix('algorithm: ').removesuffix('.')}"


def _imported(half: Any) -> Any:
    if not isinstance(half, str):
        return half
    try:
        return resolve_name(half)
    except Exception as error:
        raise UserError(
            f"algorithm: {half} could not be imported: {type(error).__name__}: {one_line(error)}."
        ) from error


def _is_a(given: object, wanted: type) -> bool:
    return isinstance(given, type) and issubclass(given, wanted)
