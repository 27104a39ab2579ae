"""The registry of algorithms: what an entry of the group `fedsieve.algorithms` names, and how one is found.

Built-in algorithms, plug-ins and families such as Flower's own strategies are found alike, by name, and handed over as
an `Algorithm`. Neither looking one up nor validating its keys imports torch where the halves are named as
"module:Class"; halves given as classes work as well, and are checked at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ConfigDict

from fedsieve import objects, plugins
from fedsieve.errors import UserError, one_line, suggest
from fedsieve.kinds import Kind

if TYPE_CHECKING:
    from fedsieve.contract import Trainer
    from fedsieve.strategy import FederatedStrategy

ENTRY_POINTS = "fedsieve.algorithms"


def kebab(name: str) -> str:
    """Return the key that users write for the field `name`: `num_clients` is `num-clients`."""
    return name.replace("_", "-")


STRICT = ConfigDict(
    frozen=True, strict=True, extra="forbid", alias_generator=kebab, populate_by_name=True, allow_inf_nan=False
)
"""How keys are validated."""


class AlgorithmConfig(BaseModel):
    """An algorithm's own keys: `fed-pub.tau` is the field `tau` of the class that `fed-pub` registers."""

    model_config = STRICT


@dataclass(frozen=True)
class Algorithm:
    """What an entry of the group `fedsieve.algorithms` names.

    Attributes:
        summary: one line, for `fedsieve list algorithms`.
        config: the algorithm's own keys, each with a default.
        strategy: its server half, a subclass of `fedsieve.strategy.FederatedStrategy`, or "module:Class".
        trainer: its client half, a class with the methods of `fedsieve.contract.Trainer`, or "module:Class".
        defaults: values that this algorithm needs, by kind of data, for keys that a user leaves open: partition, model,
            local-epochs, lr, and keys of its own that stand at their default.
        returns_weights: a client answers with the very arrays that it was sent, trained on, and nothing else: such
            uploads can be clipped and noised, `dp-clip`.
    """

    summary: str
    config: type[AlgorithmConfig]
    strategy: "type[FederatedStrategy] | str"
    trainer: "type[Trainer] | str"
    defaults: Mapping[Kind, Mapping[str, str | int | float]] = field(default_factory=dict)
    returns_weights: bool = False

    def load_strategy(self) -> "type[FederatedStrategy]":
        """Return the server half, imported if it is only named.

        Raises:
            UserError: it cannot be imported, or a run cannot use it.
        """
        return _load_half("strategy", self.strategy, _strategy_fault)  # type: ignore[no-any-return]

    def load_trainer(self) -> "type[Trainer]":
        """Return the client half, imported if it is only named.

        Raises:
            UserError: it cannot be imported, or a run cannot use it.
        """
        return _load_half("trainer", self.trainer, _trainer_fault)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class AlgorithmFamily:
    """An entry that stands for several algorithms, each named `ENTRY:MEMBER`, whose keys are all prefixed by `ENTRY`.

    Attributes:
        members: names of the members.
        make: returns the algorithm of a member; called once for each that is used.
    """

    members: Sequence[str]
    make: Callable[[str], Algorithm]


def section_of(name: str) -> str:
    """Return the prefix of an algorithm's own keys: its name, `flwr` of `flwr:FedAdam`, `Mine` of `my_module:Mine`."""
    entry, colon, member = name.partition(":")
    return member.rpartition(".")[2] if colon and entry not in plugins.entries(ENTRY_POINTS) else entry


def section_of_key(key: str) -> str:
    """Return the prefix of a key of an algorithm's own, "" for a key of the run."""
    section, dot, _ = key.partition(".")
    return section if dot else ""


def is_family(name: str) -> bool:
    """Return whether an entry stands for several algorithms.

    Raises:
        UserError: see `load_algorithm`.
    """
    return isinstance(plugins.load(ENTRY_POINTS, name, "algorithm", _faults), AlgorithmFamily)


def algorithm_names() -> list[str]:
    """Return the sorted names of all installed algorithms, of a family its name alone; nothing is imported."""
    return plugins.names(ENTRY_POINTS)


def all_algorithm_names() -> list[str]:
    """Return the sorted names of all installed algorithms, of a family its members'; each entry is imported."""
    return [full for name in algorithm_names() for full in _find_members(name)]


def find_owners(key: str) -> list[str]:
    """Return the algorithms one of whose own keys is called `key`; not of families, nor of plug-ins that are broken."""
    return [name for name in algorithm_names() if not is_family(name) and key in list_own_keys(name)]


def list_own_keys(name: str) -> list[str]:
    """Return an algorithm's own keys, without its name before them; none of one that cannot be loaded."""
    try:
        return [kebab(field) for field in load_algorithm(name).config.model_fields]
    except UserError:
        return []


def load_algorithm(name: str) -> Algorithm:
    """Return the algorithm registered as `name`, or as `ENTRY:MEMBER`; halves that are only named are not imported.

    `my_package.my_module:MyAlgorithm` names one that is not registered: see `as_algorithm`.

    Raises:
        UserError: nobody has registered that name, or two packages have, or what is registered cannot be used.
    """
    entry, colon, member = name.partition(":")
    if entry not in plugins.entries(ENTRY_POINTS):
        if colon and (entry == objects.SESSION or objects.is_module(entry)):
            return _load_by_path(name)
        names = algorithm_names()
        raise UserError(f"algorithm: got {name!r}{suggest(entry, names)}, allowed: {', '.join(names)}.")
    registered = plugins.load(ENTRY_POINTS, entry, "algorithm", _faults)
    if isinstance(registered, Algorithm):
        if colon:
            raise UserError(f"algorithm: got {name!r}, allowed: {entry!r}, which has no members.")
        return registered
    assert isinstance(registered, AlgorithmFamily)
    if member not in registered.members:
        members = [f"{entry}:{one}" for one in registered.members]
        hint = suggest(name, members) if colon else ""
        raise UserError(f"algorithm: got {name!r}{hint}, allowed: {', '.join(members)}.")
    try:
        made = registered.make(member)
    except Exception as error:
        raise UserError(f"algorithm: {name!r} could not be made: {type(error).__name__}: {one_line(error)}.") from error
    if fault := next(_faults_of_one(made), None):
        raise UserError(f"algorithm: {name!r} {fault}.")
    return made


def as_algorithm(given: object) -> Algorithm:
    """Return an `Algorithm` as it is, and of a server half, a class that names its client half, what it says of both.

    The class has `trainer` and, where they are needed, `config`, `defaults` and `returns_weights`, which mean what they
    mean of an `Algorithm`; its docstring's first line is the summary.

    Raises:
        UserError: it is neither; one clause.
    """
    if isinstance(given, type) and not isinstance(given, Algorithm) and hasattr(given, "trainer"):
        return Algorithm(
            summary=(given.__doc__ or given.__name__).strip().partition("\n")[0],
            config=getattr(given, "config", AlgorithmConfig),
            strategy=given,
            trainer=given.trainer,
            defaults=getattr(given, "defaults", {}),
            returns_weights=getattr(given, "returns_weights", False),
        )
    if isinstance(given, Algorithm):
        return given
    raise UserError("is no algorithm, allowed: a subclass of fedsieve.strategy.FederatedStrategy whose attribute "
                    "`trainer` is the clients' class, or a fedsieve.algorithms.Algorithm")  # fmt: skip


def _load_by_path(name: str) -> Algorithm:
    try:
        given = objects.find(name)
    except Exception as error:
        reason = one_line(error) if isinstance(error, LookupError) else f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"algorithm: {name!r} could not be imported: {reason}.") from error
    try:
        made = as_algorithm(given)
    except UserError as error:
        raise UserError(f"algorithm: {name!r} {error}.") from None
    if fault := next(_faults_of_one(made), None):
        raise UserError(f"algorithm: {name!r} {fault}.")
    return made


def _find_members(name: str) -> list[str]:
    try:
        registered = plugins.load(ENTRY_POINTS, name, "algorithm", _faults)
    except UserError:
        return [name]  # one that is broken does not hide the others
    return [f"{name}:{one}" for one in registered.members] if isinstance(registered, AlgorithmFamily) else [name]


def _faults(registered: object) -> Iterator[str]:
    """Yield what makes a registered object unusable, a clause each."""
    if not isinstance(registered, AlgorithmFamily):
        yield from _faults_of_one(registered)
    elif isinstance(registered.members, str) or not registered.members:
        yield f"is a family with the members {registered.members!r}, allowed: names, one at least"


def _faults_of_one(algorithm: object) -> Iterator[str]:
    """Yield what makes an object unusable as an algorithm, a clause each; halves that are only named come later."""
    if not isinstance(algorithm, Algorithm):
        yield "is not a fedsieve.algorithms.Algorithm"
        return
    if not _is_a(algorithm.config, AlgorithmConfig):
        yield f"has the config {algorithm.config!r}, allowed: a subclass of fedsieve.algorithms.AlgorithmConfig"
        return
    if not algorithm.config.model_config.get("frozen"):
        yield f"has a config, {algorithm.config.__name__}, that is not frozen"
    for key, described in algorithm.config.model_fields.items():
        if described.is_required():
            yield f"has a key without a default, {kebab(key)}"
    for kind in algorithm.defaults:
        if kind not in get_args(Kind):
            yield f"has defaults for the kind of data {kind!r}, allowed: {', '.join(get_args(Kind))}"
    for half, fault_of in ((algorithm.strategy, _strategy_fault), (algorithm.trainer, _trainer_fault)):
        if not isinstance(half, str) and (fault := fault_of(half)):
            yield fault


def _strategy_fault(strategy: object) -> str | None:
    """Return what makes an object unusable as a server half, a clause; None: nothing."""
    from fedsieve.strategy import FederatedStrategy

    if not _is_a(strategy, FederatedStrategy):
        return f"has the strategy {strategy!r}, allowed: a subclass of fedsieve.strategy.FederatedStrategy"
    lacking = sorted(getattr(strategy, "__abstractmethods__", ()))
    return f"has a strategy without {', '.join(lacking)}" if lacking else None


def _trainer_fault(trainer: object) -> str | None:
    """Return what makes an object unusable as a client half, a clause; None: nothing."""
    if not isinstance(trainer, type):
        return f"has the trainer {trainer!r}, allowed: a class with the methods of fedsieve.contract.Trainer"
    from fedsieve.contract import Trainer

    # A subclass of the protocol has its methods, which do nothing.
    written = {name: getattr(trainer, name, None) for name in ("train", "personal_model")}
    lacking = [name for name, method in written.items() if not callable(method) or method is getattr(Trainer, name)]
    return f"has a trainer without {', '.join(lacking)}" if lacking else None


def _load_half(kind: str, half: Any, fault_of: Callable[[object], str | None]) -> Any:
    if not isinstance(half, str):
        return half
    try:
        imported = resolve_name(half)
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"algorithm: the {kind} {half!r} could not be imported: {reason}.") from error
    if fault := fault_of(imported):
        raise UserError(f"algorithm: {half!r} {fault}.")
    return imported


def _is_a(given: object, wanted: type) -> bool:
    return isinstance(given, type) and issubclass(given, wanted)
