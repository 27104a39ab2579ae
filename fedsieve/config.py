"""RunConfig: one validated schema for the command line, TOML files and `flwr run --run-config`.

Keys are kebab-case and the same everywhere. An algorithm's own keys are prefixed by its name (`fed-pub.tau`), which in
a TOML file is a table (`[fed-pub]`). Flower refuses run-config keys that an app's pyproject does not declare, so a
plug-in's keys may also travel as the one declared string `algorithm-config`, itself TOML.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fedsieve.algorithms import (
    Algorithm,
    AlgorithmConfig,
    algorithm_names,
    kebab,
    load_algorithm,
    section_of,
)
from fedsieve.allowed import allowed
from fedsieve.errors import UserError, near
from fedsieve.kinds import Kind, kind_of

Scalar = str | int | float | bool

_SECTION = "algorithm-config"

OPEN: dict[str, Scalar] = {"partition": "auto", "model": "auto", "local-epochs": 0, "lr": 0.0}
"""Keys that a user may leave open, and the value that says so; a parsed configuration holds what was chosen."""

BY_KIND: dict[Kind, dict[str, Scalar]] = {
    "graph": {"partition": "metis", "model": "gcn", "local-epochs": 1, "lr": 0.01},
    "images": {"partition": "dirichlet", "model": "lenet", "local-epochs": 1, "lr": 0.01},
}

BY_DATASET: dict[str, dict[str, Scalar]] = {"digits": {"model": "mlp"}}
"""Images of 8 x 8 are too small for lenet."""


class RunConfig(BaseModel):
    """Everything one run depends on; the same `RunConfig` gives the same numbers on every engine."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", alias_generator=kebab, populate_by_name=True, allow_inf_nan=False
    )

    algorithm: str = Field("fed-pub", description="what the server and the clients do: fedsieve list algorithms")
    dataset: str = Field(
        "digits-knn", description="a name (fedsieve list datasets) or the path of your own graph or images"
    )
    partition: str = Field(
        "auto", description="how data are dealt to clients: fedsieve list partitions; auto: metis, dirichlet for images"
    )
    num_clients: int = Field(10, ge=1, le=1_000_000, description="number of clients (Flower: SuperNodes)")
    num_rounds: int = Field(100, ge=0, description="number of rounds")
    fraction_train: float = Field(1.0, gt=0.0, le=1.0, description="fraction of the clients sampled each round")
    local_epochs: int = Field(
        0, ge=0, description="epochs each sampled client trains in a round; 0: the algorithm's own, mostly 1"
    )
    patience: int = Field(
        0, ge=0, description="stop after this many rounds without a better mean validation accuracy; 0 never stops"
    )
    engine: str = Field("inline", description="what runs the apps: inline, ray or flower")
    num_workers: int = Field(
        0, ge=0, le=100_000, description="worker processes of ray and flower; 0: one a CPU; inline has one"
    )
    ray_address: str = Field(
        "", description="a Ray cluster that the ray engine joins, HOST:PORT or auto; empty: start one for the run"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where clients train")
    seed: int = Field(42, ge=0, lt=2**32, description="every random draw derives from it")
    out: str = Field("", description="the run's folder; empty: runs/<algorithm>-<dataset>-<date>-<time>")

    model: str = Field(
        "auto",
        description="the network: fedsieve list models, or your own as my_package.my_module:my_function; "
        "auto: gcn, lenet for images, mlp for digits",
    )
    hidden_dim: int = Field(128, ge=1, le=65_536, description="width of the hidden layers of gcn")
    dropout: float = Field(0.5, ge=0.0, lt=1.0, description="dropout after each hidden layer of gcn")
    optimizer: Literal["adam", "sgd"] = Field("adam", description="the clients' optimiser")
    lr: float = Field(0.0, ge=0.0, description="learning rate; 0: the algorithm's own, mostly 0.01")
    momentum: float = Field(0.0, ge=0.0, lt=1.0, description="momentum of sgd")
    weight_decay: float = Field(1e-6, ge=0.0, description="weight decay")
    batch_size: int = Field(20, ge=1, description="images in a training step; graphs are trained on whole")

    train_ratio: float = Field(0.0, ge=0.0, lt=1.0, description="training share of the data; 0: the data set's own")
    val_ratio: float = Field(0.0, ge=0.0, lt=1.0, description="validation share of the data; the rest is test")
    data_seed: int = Field(
        0, ge=0, lt=2**32, description="draws the split and the partition; 0: the run's seed. FED-PUB's code fixes 1234"
    )
    largest_component: Literal["auto", "yes", "no"] = Field(
        "auto", description="cut the graph to its largest component; auto: published graphs are, your own is not"
    )
    clients_per_part: int = Field(5, ge=1, description="clients that share one part under metis-overlapping")
    alpha: float = Field(0.5, gt=0.0, description="concentration of dirichlet: the smaller, the less alike clients are")
    classes_per_client: int = Field(2, ge=1, description="classes of a client under pathological")
    shards_per_client: int = Field(2, ge=1, description="shards of a client under shards")
    examples_per_client: int = Field(
        0, ge=0, description="images a client holds for training and validation at most; 0: its whole part"
    )

    state_memory_mb: int = Field(
        1024,
        ge=0,
        description="MB in memory of clients' states, and again of the server's personal models; the rest is on disk",
    )
    min_clients: int = Field(
        1, ge=1, description="clients that a round needs: with fewer usable replies the run ends; see fraction-train"
    )
    norm_limit: float = Field(
        10.0,
        ge=0.0,
        description="a reply, or one of its arrays, so many times as large as the others' and as what was sent is left "
        "out; 0: none",
    )
    dp_clip: float = Field(
        0.0, ge=0.0, description="largest norm of what a client changes in a round; 0: any. fed-avg and fed-prox only"
    )
    dp_noise: float = Field(
        0.0, ge=0.0, description="deviation of the Gaussian noise on each value sent, as a multiple of dp-clip"
    )
    checkpoint_every: int = Field(
        1,
        ge=0,
        description="rounds between two checkpoints of a simulation, 0: only when it ends; "
        "a deployment writes one after every round",
    )
    tensorboard: bool = Field(
        False, description="write TensorBoard's event files into the run's folder; needs fedsieve[tensorboard]"
    )
    round_timeout: float = Field(3600.0, gt=0.0, description="seconds to wait for a round's replies")
    settings: AlgorithmConfig = Field(description="the algorithm's own keys", exclude=True)

    @model_validator(mode="after")
    def _engine_has_workers(self) -> "RunConfig":
        if self.engine == "inline" and self.num_workers > 1:
            allowed = "allowed: 1, or more with engine = 'ray' or 'flower'"
            raise ValueError(f"num-workers: got {self.num_workers} with engine = 'inline', {allowed}")
        if self.engine != "ray" and self.ray_address:
            given = f"got {self.ray_address!r} with engine = {self.engine!r}"
            raise ValueError(f"ray-address: {given}, allowed: only with engine = 'ray'")
        return self

    @model_validator(mode="after")
    def _split_is_possible(self) -> "RunConfig":
        if (self.train_ratio > 0) != (self.val_ratio > 0):
            given = f"train-ratio, val-ratio: got {self.train_ratio:g} and {self.val_ratio:g}"
            raise ValueError(f"{given}, allowed: both above 0, or neither for the data set's own")
        if self.train_ratio + self.val_ratio >= 1:
            total = self.train_ratio + self.val_ratio
            raise ValueError(f"train-ratio + val-ratio: got {total:g}, allowed: below 1 (the rest is test)")
        return self

    @model_validator(mode="after")
    def _rounds_have_clients(self) -> "RunConfig":
        if self.min_clients > self.num_clients:
            given = f"min-clients: got {self.min_clients} with num-clients = {self.num_clients}"
            raise ValueError(f"{given}, allowed: at most the number of clients")
        return self

    @model_validator(mode="after")
    def _limit_leaves_room(self) -> "RunConfig":
        if 0 < self.norm_limit < 1:
            raise ValueError(f"norm-limit: got {self.norm_limit:g}, allowed: 0, or at least 1")
        return self

    @model_validator(mode="after")
    def _uploads_can_be_clipped(self) -> "RunConfig":
        if self.dp_noise > 0 and self.dp_clip == 0:
            raise ValueError(f"dp-noise: got {self.dp_noise:g} with dp-clip = 0, allowed: 0, or with dp-clip above 0")
        if self.dp_clip > 0 and not load_algorithm(self.algorithm).returns_weights:
            able = ", ".join(name for name in algorithm_names() if _returns_weights(name))
            given = f"dp-clip: got {self.dp_clip:g} with algorithm = {self.algorithm!r}"
            raise ValueError(
                f"{given}, allowed: 0, or with an algorithm whose clients answer with weights alone: {able}"
            )
        return self

    @property
    def seed_of_data(self) -> int:
        """The seed that draws the split and the partition."""
        return self.data_seed or self.seed

    def flat(self) -> dict[str, Scalar]:
        """Return all keys, the algorithm's own prefixed, as Flower's run config holds them."""
        section = section_of(self.algorithm)
        own = {f"{section}.{key}": value for key, value in self.settings.model_dump(by_alias=True).items()}
        return self.model_dump(by_alias=True) | own

    def toml(self) -> str:
        """Return the complete configuration as TOML that `fedsieve run` takes."""
        return tomli_w.dumps(
            self.model_dump(by_alias=True) | {section_of(self.algorithm): self.settings.model_dump(by_alias=True)}
        )


def parse(values: Mapping[str, Any]) -> RunConfig:
    """Validate `values`, flat (`{"fed-pub.tau": 3}`) or nested (`{"fed-pub": {"tau": 3}}`), into a `RunConfig`.

    The first fault is a `UserError` of one sentence; a key of another algorithm than the one that runs is one.
    """
    name, run, own = _split(values)
    if "settings" in run:
        raise UserError("settings: is not a key; an algorithm's own keys are prefixed by its name, as in fed-pub.tau.")
    algorithm = load_algorithm(name)
    by_run, by_algorithm = _left_open(algorithm, run, own)
    settings = validated(algorithm.config, own | by_algorithm, f"{section_of(name)}.")
    config = validated(RunConfig, run | by_run | {"settings": settings}, "")
    assert isinstance(config, RunConfig)
    return config


def parse_flower(values: Mapping[str, Any]) -> RunConfig:
    """Validate Flower's run config, which holds all keys that the app's pyproject declares.

    Those of other algorithms than the chosen one stand at their defaults, and are left out.
    """
    chosen = section_of(str(values.get("algorithm", RunConfig.model_fields["algorithm"].default)))
    return parse({key: value for key, value in values.items() if not _is_declared_only(key, value, chosen)})


def _is_declared_only(key: str, value: object, chosen: str) -> bool:
    """Return whether a key is another algorithm's, at its default."""
    section, dot, rest = key.partition(".")
    if not dot or section == chosen or section not in algorithm_names():
        return False
    try:
        fields = load_algorithm(section).config.model_fields
    except UserError:
        return False
    return any(kebab(name) == rest and field.default == value for name, field in fields.items())


def read(path: Path) -> dict[str, Any]:
    """Read a TOML file of keys; a missing or broken file is a `UserError`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
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
        parsed = value.strip()
    if not isinstance(parsed, str | int | float | bool):
        raise UserError(f"-s {text}: got a {type(parsed).__name__}, allowed: a number, a string, true or false.")
    return key.strip(), parsed


def keys() -> dict[str, tuple[Any, str]]:
    """Return every run key with its default and description, the algorithm's own excepted."""
    return {
        kebab(name): (field.default, field.description or "")
        for name, field in RunConfig.model_fields.items()
        if name != "settings"
    }


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
    for key, value in values.items():
        section, dot, rest = key.partition(".")
        if dot:
            sections.setdefault(_known_section(section, key), {})[rest] = value
        elif isinstance(value, Mapping):
            sections.setdefault(_known_section(section, key), {}).update(value)
        elif key in algorithm_names():
            raise UserError(f"{key}: got {value!r}, allowed: a table of keys, or one such as {key}.KEY.")
        else:
            run[key] = value
    name = run.get("algorithm", RunConfig.model_fields["algorithm"].default)
    if not isinstance(name, str):
        raise UserError(f"algorithm: got {name!r}, allowed: {', '.join(algorithm_names())}.")
    load_algorithm(name)
    own = sections.pop(section_of(name), {})
    for other, keys_ in sections.items():
        for key in keys_:
            raise UserError(
                f"{other}.{key}: is a key of {other}, allowed: with algorithm = {other!r}; this run's is {name!r}."
            )
    return name, run, own | unpacked


def _left_open(
    algorithm: Algorithm, run: Mapping[str, Any], own: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return values for the keys that the user leaves open, the run's and the algorithm's, by the kind of data."""
    dataset = run.get("dataset", RunConfig.model_fields["dataset"].default)
    kind = kind_of(dataset) if isinstance(dataset, str) else "graph"
    of_dataset = BY_DATASET.get(dataset, {}) if isinstance(dataset, str) else {}
    needed = dict(algorithm.defaults.get(kind, {}))
    by_run = {key: needed.pop(key, value) for key, value in (BY_KIND[kind] | of_dataset).items()}
    open_ = {kebab(name): field.default for name, field in algorithm.config.model_fields.items()}
    return (
        {key: value for key, value in by_run.items() if _is_open(run.get(key, OPEN[key]), OPEN[key])},
        {key: value for key, value in needed.items() if _is_open(own.get(key, open_[key]), open_[key])},
    )


def _is_open(given: object, open_: Scalar) -> bool:
    """Return whether `given` says "left open"; False and, for a whole number, 0.0 are mistakes to be reported."""
    kinds = (int, float) if isinstance(open_, float) else (type(open_),)
    return type(given) in kinds and given == open_


def _known_section(section: str, key: str) -> str:
    if section not in algorithm_names():
        hint = near(section, algorithm_names())
        raise UserError(f"{key}: no algorithm is called {section!r}{hint}, allowed: {', '.join(algorithm_names())}.")
    return section


def validated(schema: type[BaseModel], values: Mapping[str, Any], prefix: str) -> Any:
    """Return `values` as `schema`; the first fault is a `UserError` of one sentence, `prefix` before the key."""
    try:
        return schema.model_validate(dict(values), by_name=False, by_alias=True)
    except ValidationError as error:
        raise UserError(_sentence(error, schema, values, prefix)) from None


def _sentence(error: ValidationError, schema: type[BaseModel], values: Mapping[str, Any], prefix: str) -> str:
    fault = error.errors(include_url=False)[0]
    if fault["type"] == "value_error":
        return f"{fault['ctx']['error']!s}."
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "missing":
        return f"{prefix}{key}: is missing."
    known = {kebab(name): field for name, field in schema.model_fields.items() if name != "settings"}
    if fault["type"] == "extra_forbidden":
        hint = _prefix_missing(key, values) or near(key, known, prefix)
        return f"{prefix}{key}: is not a key{hint}, allowed: {', '.join(prefix + name for name in known) or 'none'}."
    words = (key in known and allowed(known[key])) or fault["msg"].removeprefix("Input should be ")
    if fault["type"] == "finite_number":
        words = words.replace("a number", "a finite number")
    if fault["type"] == "too_short":
        words = "a list of at least one value"
    return f"{prefix}{key}: got {fault['input']!r}, allowed: {words}."


def _prefix_missing(key: str, values: Mapping[str, Any]) -> str:
    """Return " (did you mean fed-pub.tau?)" for the key `tau` of a run of fed-pub, "" for keys of no such name."""
    own = values.get("settings")
    if not isinstance(own, AlgorithmConfig) or key not in map(kebab, type(own).model_fields):
        return ""
    name = values.get("algorithm", RunConfig.model_fields["algorithm"].default)
    return f" (did you mean {section_of(name)}.{key}?)"
