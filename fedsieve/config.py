"""RunConfig: one validated schema for the command line, TOML files and `flwr run --run-config`.

The keys are in `fedsieve.keys`, kebab-case and the same everywhere. An algorithm's own keys are prefixed by its name
(`fed-pub.tau`), which in a TOML file is a table (`[fed-pub]`). Flower refuses run-config keys that an app's pyproject
does not declare, so a plug-in's keys may also travel as the one declared string `algorithm-config`, itself TOML.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import tomli_w
from pydantic import BaseModel, Field, ValidationError, model_validator

from fedsieve.algorithms import (
    ENTRY_POINTS,
    Algorithm,
    AlgorithmConfig,
    algorithm_names,
    find_owners,
    is_family,
    kebab,
    load_algorithm,
    section_of,
    section_of_key,
)
from fedsieve.allowed import allowed
from fedsieve.catalogue import GRAPH_PARTITIONS, IMAGE_PARTITIONS, OWN_PARTITIONS
from fedsieve.errors import UserError, find_close, suggest
from fedsieve.keys import (
    GROUPS,
    DataKeys,
    EngineKeys,
    PrivacyKeys,
    RecordingKeys,
    Scalar,
    TrainingKeys,
    fields,
    guess_key,
    key_of,
    keys_not_read_by,
)
from fedsieve.kinds import Kind, tell_kind
from fedsieve.networks import check_network
from fedsieve.paths import expand
from fedsieve.plugins import plugin_of
from fedsieve.user_data import call, find_clients, is_function

__all__ = ["RunConfig", "Scalar", "parse", "read"]

_SECTION = "algorithm-config"

_SHORT_NUMBER = re.compile(r"[+-]?(\d+\.|\.\d+)")
"""`.4` and `4.`, which are numbers to everybody but TOML."""

BY_KIND: dict[Kind, dict[str, Scalar]] = {
    "graph": {"partition": "metis", "model": "gcn", "local-epochs": 1, "lr": 0.01},
    "images": {"partition": "dirichlet", "model": "lenet", "local-epochs": 1, "lr": 0.01},
}
"""What is chosen for keys that a user leaves open, which is their default; a parsed configuration holds the choice."""

BY_DATASET: dict[str, dict[str, Scalar]] = {"digits": {"model": "mlp"}}
"""Images of 8 x 8 are too small for lenet."""


class RunConfig(RecordingKeys, PrivacyKeys, EngineKeys, DataKeys, TrainingKeys):  # pydantic begins with the last
    """Everything one run depends on; the same `RunConfig` gives the same numbers on every engine."""

    settings: AlgorithmConfig = Field(description="the algorithm's own keys", exclude=True)

    @model_validator(mode="after")
    def _rounds_have_clients(self) -> "RunConfig":
        if self.min_clients > self.num_clients:
            given = f"min-clients: got {self.min_clients} with num-clients = {self.num_clients}"
            raise ValueError(f"{given}, allowed: at most the number of clients")
        return self

    @model_validator(mode="after")
    def _uploads_can_be_clipped(self) -> "RunConfig":
        if self.dp_clip > 0 and not load_algorithm(self.algorithm).returns_weights:
            able = ", ".join(
                f"{name}:NAME" if is_family(name) else name
                for name in algorithm_names()
                if is_family(name) or _returns_weights(name)
            )
            given = f"dp-clip: got {self.dp_clip:g} with algorithm = {self.algorithm!r}"
            raise ValueError(
                f"{given}, allowed: 0, or with an algorithm whose clients answer with weights alone: {able}"
            )
        return self

    @model_validator(mode="after")
    def _buffers_are_not_sent_unclipped(self) -> "RunConfig":
        if self.dp_clip > 0 and self.buffers == "averaged":
            given = f"buffers: got 'averaged' with dp-clip = {self.dp_clip:g}"
            raise ValueError(f"{given}, which bounds weights alone, allowed: 'personal', or dp-clip = 0")
        return self

    def flat(self) -> dict[str, Scalar]:
        """Return all keys, the algorithm's own prefixed, as Flower's run config holds them."""
        section = section_of(self.algorithm)
        own_keys = {f"{section}.{key}": value for key, value in self.settings.model_dump(by_alias=True).items()}
        return self.model_dump(by_alias=True) | own_keys

    def toml(self) -> str:
        """Return the complete configuration as TOML that `fedsieve run` takes, group by group."""
        parts = [f"# {group.title}\n{tomli_w.dumps(self.group(group))}" for group in GROUPS]
        parts.append(tomli_w.dumps({section_of(self.algorithm): self.settings.model_dump(by_alias=True)}))
        return "\n".join(parts)


def parse(values: Mapping[str, Any]) -> RunConfig:
    """Validate `values`, flat (`{"fed-pub.tau": 3}`) or nested (`{"fed-pub": {"tau": 3}}`), into a `RunConfig`.

    The first fault is a `UserError` of one sentence; a key of another algorithm than the one that runs is one.
    """
    name, run, own_keys = _split(values)
    if "settings" in run:
        raise UserError("settings: is not a key; an algorithm's own keys are prefixed by its name, as in fed-pub.tau.")
    algorithm = load_algorithm(name)
    by_run, by_algorithm = _fill_open(name, algorithm, run, own_keys)
    settings = validate(algorithm.config, own_keys | by_algorithm, f"{section_of(name)}.")
    config = validate(RunConfig, run | by_run | {"settings": settings}, "")
    assert isinstance(config, RunConfig)
    check_network(config.model)
    return config


def find_unread(run: RunConfig) -> list[str]:
    """Return the keys, not at their defaults, that the run's partition does not read; none for an unknown one."""
    if run.partition not in (*GRAPH_PARTITIONS, *IMAGE_PARTITIONS, *OWN_PARTITIONS):
        return []  # whoever deals the data says so
    values, unread = run.flat(), keys_not_read_by(run.partition)
    return [key for key, field in fields().items() if key in unread and values[key] != field.default]


def check_read(run: RunConfig) -> None:
    """Raise a `UserError` for a key that a new run's partition does not read; older runs may have such."""
    for key in find_unread(run):
        raise explain_unread(key, run.flat()[key], f"partition = {run.partition!r}, which does not read it")


def explain_unread(key: str, value: object, where: str) -> UserError:
    """Return what to say of a key that is not read where it was given."""
    readers = ", ".join(key_of(fields()[key]).partitions)
    return UserError(f"{key}: got {value!r} with {where}, allowed: with one of the partitions that do, {readers}.")


def parse_flower(values: Mapping[str, Any]) -> RunConfig:
    """Validate Flower's run config, which holds all keys that the app's pyproject declares.

    Those of other algorithms than the chosen one stand at their defaults, and are ignored.
    """
    declared = declared_keys()
    chosen = section_of(str(values.get("algorithm", declared["algorithm"])))
    return parse({key: value for key, value in values.items()
                  if section_of_key(key) in ("", chosen) or declared.get(key) != value})  # fmt: skip


def declared_keys() -> dict[str, Scalar]:
    """Return the keys that pyproject.toml declares to Flower, flat, with their defaults: all that are built in.

    Those of plug-ins, and of families of algorithms, travel in `algorithm-config`.
    """
    declared: dict[str, Scalar] = {key: field.default for key, field in fields().items()} | {_SECTION: ""}
    for name in algorithm_names():
        if plugin_of(ENTRY_POINTS, name) is None and not is_family(name):
            config = load_algorithm(name).config
            declared |= {f"{name}.{kebab(field)}": info.default for field, info in config.model_fields.items()}
    return declared


def read(path: Path) -> dict[str, Any]:
    """Read a TOML file of keys; a missing or broken file is a `UserError`."""
    try:
        return tomllib.loads(expand(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not TOML: {error}.") from error


def dotted(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of tables as dotted keys, `{"fed-pub": {"tau": 3}}` as `{"fed-pub.tau": 3}`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{key}.{inner}": item for inner, item in value.items()}
        else:
            flat[key] = value
    return flat


def parse_assignment(text: str) -> tuple[str, Scalar]:
    """Split `key=value`; the value is read as TOML, and as a plain string where it is none."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"-s {text}: got no '=', allowed: key=value.")
    try:
        parsed = tomllib.loads(f"value = {value.strip()}")["value"]
    except (ValueError, RecursionError):
        parsed = float(value) if _SHORT_NUMBER.fullmatch(value.strip()) else value.strip()
    if not isinstance(parsed, str | int | float | bool):
        raise UserError(f"-s {text}: got a {type(parsed).__name__}, allowed: a number, a string, true or false.")
    return key.strip(), parsed


def _returns_weights(name: str) -> bool:
    """Return whether the algorithm's uploads can be clipped; not whether a broken plug-in's could."""
    try:
        return load_algorithm(name).returns_weights
    except UserError:
        return False


def _split(values: Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return the chosen algorithm, the run's own keys, and the algorithm's."""
    run: dict[str, Any] = {}
    sections: dict[str, dict[str, Any]] = {}
    values = dict(values)
    packed = values.pop(_SECTION, "")
    try:
        unpacked = tomllib.loads(packed)
    except (tomllib.TOMLDecodeError, TypeError, AttributeError) as error:
        raise UserError(f"{_SECTION}: got {packed!r}, allowed: a string of TOML ({error}).") from error
    name = values.get("algorithm", fields()["algorithm"].default)
    chosen = section_of(name) if isinstance(name, str) else ""
    for key, value in values.items():
        section, dot, rest = key.partition(".")
        if dot:
            sections.setdefault(_known_section(section, key, chosen), {})[rest] = value
        elif isinstance(value, Mapping):
            sections.setdefault(_known_section(section, key, chosen), {}).update(value)
        elif key in algorithm_names():
            raise UserError(f"{key}: got {value!r}, allowed: a table of keys, or one such as {key}.KEY.")
        else:
            run[key] = value
    if not isinstance(name, str):
        raise UserError(f"algorithm: got {name!r}, allowed: {', '.join(algorithm_names())}.")
    load_algorithm(name)
    own_keys = sections.pop(chosen, {})
    for other, values in sections.items():
        _check_belongs(values, other, name)
    return name, run, own_keys | unpacked


def _check_belongs(values: Mapping[str, Any], section: str, algorithm: str) -> None:
    """Raise a `UserError` for keys of another algorithm than the one that runs; first for those that it has not."""
    if not values:
        return
    named = section
    if is_family(section):
        named = f"{section}:NAME"
    else:
        validate(load_algorithm(section).config, values, f"{section}.")
    given = f"{section}.{next(iter(values))}: is a key of {section}"
    raise UserError(f"{given}, allowed: with algorithm = {named!r}; this run's is {algorithm!r}.")


def _fill_open(
    name: str, algorithm: Algorithm, run: Mapping[str, Any], own_keys: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return values for the keys that the user leaves open, the run's and the algorithm's, by the kind of data."""
    dataset = run.get("dataset", fields()["dataset"].default)
    kind = _tell_kind(dataset, run) if isinstance(dataset, str) else "graph"
    of_dataset = BY_DATASET.get(dataset, {}) if isinstance(dataset, str) else {}
    needed = dict(algorithm.defaults.get(kind, {}))
    by_data: dict[str, Any] = {}
    partition = run.get("partition", fields()["partition"].default)
    if partition == fields()["partition"].default and isinstance(dataset, str) and _returns_clients(dataset):
        by_data = {"partition": (partition := "given")}
    if partition in OWN_PARTITIONS and "num-clients" not in run:
        by_data |= _count_clients({**run, "partition": partition})
    by_run = {key: needed.pop(key, value) for key, value in (BY_KIND[kind] | of_dataset).items()}
    open_ = {kebab(name): field.default for name, field in algorithm.config.model_fields.items()}
    of_run = {key: fields()[key].default for key in by_run}
    for key in {key: None for values in algorithm.defaults.values() for key in values}:
        if key not in of_run | open_:
            raise UserError(f"algorithm: {name!r} has a default for {key}, allowed: {', '.join([*of_run, *open_])}.")
    return (
        {key: value for key, value in by_run.items() if _is_open(run.get(key, of_run[key]), of_run[key])} | by_data,
        {key: value for key, value in needed.items() if _is_open(own_keys.get(key, open_[key]), open_[key])},
    )


def _tell_kind(dataset: str, run: Mapping[str, Any]) -> Kind:
    """Return the kind of data; of a user's function, which would be called, by the partition if that says it."""
    if is_function(dataset):
        if run.get("partition") in GRAPH_PARTITIONS:
            return "graph"
        if run.get("partition") in IMAGE_PARTITIONS:
            return "images"
    return tell_kind(dataset)


def _returns_clients(dataset: str) -> bool:
    """Return whether a data set is a user's function that returns the data of several clients."""
    return is_function(dataset) and find_clients(call(dataset)) is not None


def _count_clients(run: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of clients that the data themselves name, for which they are read."""
    asked = [
        run.get(key, fields()[key].default)
        for key in ("dataset", "partition", "column", "image-column", "label-column")
    ]
    if not all(isinstance(value, str) for value in asked) or (asked[1] == "natural" and not asked[2]):
        return {}
    count = resolve_name("fedsieve.data.holders:count_clients")  # by name: that module loads torch, and keys do not
    return {"num-clients": count(*asked)}


def _is_open(given: object, open_: Scalar) -> bool:
    """Return whether `given` says "left open"; False and, for a whole number, 0.0 are mistakes to be reported."""
    kinds = (int, float) if isinstance(open_, float) else (type(open_),)
    return type(given) in kinds and given == open_


def _known_section(section: str, key: str, chosen: str) -> str:
    if section != chosen and section not in algorithm_names():
        hint = suggest(section, algorithm_names())
        raise UserError(f"{key}: no algorithm is called {section!r}{hint}, allowed: {', '.join(algorithm_names())}.")
    return section


def validate(schema: type[BaseModel], values: Mapping[str, Any], prefix: str) -> Any:
    """Return `values` as `schema`; the first fault is a `UserError` of one sentence, `prefix` before the key."""
    try:
        return schema.model_validate(dict(values), by_name=False, by_alias=True)
    except ValidationError as error:
        raise UserError(_explain(error, schema, values, prefix)) from None


def _explain(error: ValidationError, schema: type[BaseModel], values: Mapping[str, Any], prefix: str) -> str:
    fault = error.errors(include_url=False)[0]
    if fault["type"] == "value_error":
        return f"{fault['ctx']['error']!s}."
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "missing":
        return f"{prefix}{key}: is missing."
    known = {kebab(name): field for name, field in schema.model_fields.items() if name != "settings"}
    if fault["type"] == "extra_forbidden":
        of_run = _suggest(key, values) if schema is RunConfig else ""
        hint = _suggest_prefix(key, values) or of_run or suggest(key, known, prefix)
        return f"{prefix}{key}: is not a key{hint}, allowed: {', '.join(prefix + name for name in known) or 'none'}."
    words = (key in known and allowed(known[key])) or fault["msg"].removeprefix("Input should be ")
    if fault["type"] == "finite_number":
        words = words.replace("a number", "a finite number")
    if fault["type"] == "too_short":
        words = "a list of at least one value"
    return f"{prefix}{key}: got {fault['input']!r}, allowed: {words}."


def _suggest(key: str, values: Mapping[str, Any]) -> str:
    """Return a hint for what is no key of a run: it has another name, or is one of algorithms."""
    if guess_key(key):
        return f" (did you mean {guess_key(key)}?)"
    if owners := find_owners(key):
        return f" (did you mean {' or '.join(f'{name}.{key}' for name in owners)}, of another algorithm?)"
    settings, name = values.get("settings"), values.get("algorithm", fields()["algorithm"].default)
    if not isinstance(settings, AlgorithmConfig) or find_close(key, fields()):
        return ""
    return suggest(key, map(kebab, type(settings).model_fields), f"{section_of(name)}.")


def _suggest_prefix(key: str, values: Mapping[str, Any]) -> str:
    """Return " (did you mean fed-pub.tau?)" for the key `tau` of a run of fed-pub, "" for keys of no such name."""
    settings = values.get("settings")
    if not isinstance(settings, AlgorithmConfig) or key not in map(kebab, type(settings).model_fields):
        return ""
    name = values.get("algorithm", fields()["algorithm"].default)
    return f" (did you mean {section_of(name)}.{key}?)"
