"""The keys of every run, in groups, each described once: type, bounds, default, words, and what a change of it means.

Flags of the command line, the rules of resume, sweeps and paired comparisons, the keys that Flower's pyproject declares
and the table in docs/configuration.md are made from these classes.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator
from pydantic.fields import FieldInfo

from fedsieve import plugins
from fedsieve.algorithms import STRICT, kebab
from fedsieve.errors import suggest
from fedsieve.paths import expand

TRACKERS = "fedsieve.trackers"
"""Entry points of what records the rounds of a run."""

Scalar = str | int | float | bool


class Changes(Enum):
    """What another value of a key changes."""

    DATA = "what clients hold"
    NUMBERS = "the numbers of any round"
    LATER = "the numbers of rounds to come, so that a run may be resumed with it"
    NOTHING = "no number"


@dataclass(frozen=True)
class Key:
    """What a key's type, bounds and default do not say.

    Attributes:
        changes: what another value of it changes.
        instead_of: other names that people try, for hints.
        deployed: whether it says anything of a run on a deployment.
        partitions: those that read it, of those that deal data to clients; none for all.
    """

    changes: Changes = Changes.NUMBERS
    instead_of: tuple[str, ...] = ()
    deployed: bool = True
    partitions: tuple[str, ...] = ()

    def is_read_by(self, partition: str) -> bool:
        """Return whether a run with this partition reads it."""
        return not self.partitions or partition in self.partitions


DATA, LATER, NOTHING = Key(Changes.DATA), Key(Changes.LATER), Key(Changes.NOTHING)

READ_ALPHA = (
    "label-dirichlet",
    "feature-dirichlet",
    "dirichlet",
    "DirichletPartitioner",
    "InnerDirichletPartitioner",
)

PathText = Annotated[str, AfterValidator(lambda path: str(expand(path)) if path.startswith("~") else path)]
"""A path, `~` in which is the home folder wherever it was written."""


class Keys(BaseModel):
    """A group of keys; `title` heads it in the help."""

    model_config = STRICT

    title: ClassVar[str] = ""

    def group(self, group: "type[Keys]") -> dict[str, Scalar]:
        """Return the keys of one group and their values."""
        return self.model_dump(by_alias=True, include=set(group.model_fields))


class TrainingKeys(Keys):
    """What is trained, and how."""

    title: ClassVar[str] = "Training"

    algorithm: Annotated[str, Key(instead_of=("strategy", "method"))] = Field(
        "fed-pub",
        description="what the server and the clients do: fedsieve list algorithms, or your own as "
        "my_package.my_module:MyAlgorithm",
    )
    num_rounds: Annotated[int, Key(Changes.LATER, instead_of=("rounds", "n-rounds", "num-server-rounds"))] = Field(
        100, ge=0, description="number of rounds"
    )
    fraction_train: Annotated[float, Key(instead_of=("fraction", "fraction-fit", "participation"))] = Field(
        1.0, gt=0.0, le=1.0, description="fraction of the clients sampled each round"
    )
    local_epochs: Annotated[int, Key(instead_of=("epochs", "num-epochs", "n-epochs", "num-local-epochs"))] = Field(
        0, ge=0, description="epochs each sampled client trains in a round; 0: the algorithm's own, mostly 1"
    )
    patience: Annotated[int, Key(Changes.LATER, instead_of=("early-stopping",))] = Field(
        0, ge=0, description="stop after this many rounds without a better mean validation accuracy; 0 never stops"
    )
    min_clients: Annotated[int, LATER] = Field(
        1, ge=1, description="clients that a round needs: with fewer usable replies the run ends; see fraction-train"
    )
    norm_limit: Annotated[float, LATER] = Field(
        10.0,
        ge=0.0,
        description="a reply, or one of its arrays, so many times as large as the others' and as what was sent is "
        "rejected; 0: none",
    )
    model: Annotated[str, Key(instead_of=("network", "net", "architecture", "arch"))] = Field(
        "auto",
        description="the network: fedsieve list models, or your own as my_package.my_module:my_function "
        "or a class, torch_geometric.nn:GraphSAGE; "
        "auto: gcn, lenet for images, mlp for digits",
    )
    hidden_dim: Annotated[int, Key(instead_of=("hidden", "hidden-size", "hidden-channels", "width"))] = Field(
        128, ge=1, le=65_536, description="width of a graph network's hidden layers"
    )
    num_layers: Annotated[int, Key(instead_of=("layers", "n-layers", "depth", "num-hidden-layers"))] = Field(
        2, ge=1, le=64, description="layers of a graph network; of appnp its perceptron's, of sgc its steps"
    )
    dropout: float = Field(0.5, ge=0.0, lt=1.0, description="dropout after each hidden layer of a graph network")
    optimizer: Annotated[Literal["adam", "sgd"], Key(instead_of=("optimiser", "optim"))] = Field(
        "adam", description="the clients' optimiser"
    )
    lr: Annotated[float, Key(instead_of=("learning-rate", "rate", "eta"))] = Field(
        0.0, ge=0.0, description="learning rate; 0: the algorithm's own, mostly 0.01"
    )
    momentum: float = Field(0.0, ge=0.0, lt=1.0, description="momentum of sgd")
    weight_decay: Annotated[float, Key(instead_of=("wd", "l2"))] = Field(1e-6, ge=0.0, description="weight decay")
    batch_size: Annotated[int, Key(instead_of=("batch",))] = Field(
        20, ge=1, description="images in a training step; graphs are trained on whole"
    )

    buffers: Literal["personal", "averaged"] = Field(
        "personal",
        description="what training changes and is no weight, such as batch norm's statistics: personal stays on the "
        "client, averaged travels with the weights",
    )

    @model_validator(mode="after")
    def _limit_leaves_room(self) -> "TrainingKeys":
        if 0 < self.norm_limit < 1:
            raise ValueError(f"norm-limit: got {self.norm_limit:g}, allowed: 0, or at least 1")
        return self


class DataKeys(Keys):
    """What clients hold, and the seed, which draws that too."""

    title: ClassVar[str] = "Data"

    dataset: Annotated[PathText, Key(Changes.DATA, instead_of=("data", "data-set"))] = Field(
        "digits-knn",
        description="a name (fedsieve list datasets), pyg:CLASS/NAME, hf:OWNER/NAME, module:function, "
        "or the path of your own graph, images or clients",
    )
    partition: Annotated[str, Key(Changes.DATA, instead_of=("partitioner",))] = Field(
        "auto", description="how data are dealt to clients: fedsieve list partitions; auto: metis, dirichlet for images"
    )
    column: Annotated[str, Key(Changes.DATA, instead_of=("by", "partition-by"), partitions=("natural",))] = Field(
        "",
        description="under natural: the column, or array of a graph's nodes, each value of which is a client's",
    )
    image_column: Annotated[str, Key(Changes.DATA, instead_of=("image", "images"))] = Field(
        "", description="of .parquet files and hf:OWNER/NAME: the column of the images; empty: the one that there is"
    )
    label_column: Annotated[str, Key(Changes.DATA, instead_of=("label", "labels", "target"))] = Field(
        "", description="of .parquet files and hf:OWNER/NAME: the column of the labels; empty: the one that there is"
    )
    num_clients: Annotated[int, Key(Changes.DATA, instead_of=("clients", "n-clients", "num-supernodes", "nodes"))] = (
        Field(
            10,
            ge=1,
            le=1_000_000,
            description="number of clients (Flower: SuperNodes); left open under given and natural: all that there are",
        )
    )
    seed: Annotated[int, Key(instead_of=("random-seed", "random-state"))] = Field(
        42, ge=0, lt=2**32, description="every random draw derives from it"
    )
    data_seed: Annotated[int, DATA] = Field(
        0, ge=0, lt=2**32, description="draws the split and the partition; 0: the run's seed. FED-PUB's code fixes 1234"
    )
    train_ratio: Annotated[float, DATA] = Field(
        0.0, ge=0.0, lt=1.0, description="training share of the data; 0: the data set's own"
    )
    val_ratio: Annotated[float, DATA] = Field(
        0.0, ge=0.0, lt=1.0, description="validation share of the data; the rest is test"
    )
    split: Annotated[int, DATA] = Field(
        -1, ge=-1, description="of masks of several splits, N x k, the one to take, from 0; -1: there is but one"
    )
    undirected: Annotated[bool, Key(Changes.DATA, instead_of=("to-undirected",))] = Field(
        False, description="add the other direction of every edge of a graph"
    )
    largest_component: Annotated[Literal["auto", "yes", "no"], DATA] = Field(
        "auto", description="cut the graph to its largest component; auto: published graphs are, your own is not"
    )
    clients_per_part: Annotated[int, Key(Changes.DATA, partitions=("metis-overlapping",))] = Field(
        5, ge=1, description="clients that share one part under metis-overlapping"
    )
    alpha: Annotated[float, Key(Changes.DATA, partitions=READ_ALPHA)] = Field(
        0.5,
        gt=0.0,
        description="concentration of the partitions that draw from a Dirichlet distribution: the smaller, the less "
        "alike clients are",
    )
    classes_per_client: Annotated[int, Key(Changes.DATA, partitions=("pathological", "PathologicalPartitioner"))] = (
        Field(2, ge=1, description="classes of a client under pathological and PathologicalPartitioner")
    )
    shards_per_client: Annotated[int, Key(Changes.DATA, partitions=("shards", "ShardPartitioner"))] = Field(
        2, ge=1, description="shards of a client under shards and ShardPartitioner"
    )
    examples_per_client: Annotated[int, DATA] = Field(
        0, ge=0, description="images a client holds for training and validation at most; 0: its whole part"
    )

    @property
    def holder_column(self) -> str:
        """The column that says who holds what, "" for none."""
        return {"given": "client", "natural": self.column}.get(self.partition, "")

    @property
    def seed_of_data(self) -> int:
        """The seed that draws the split and the partition."""
        return self.data_seed or self.seed

    @model_validator(mode="after")
    def _split_is_possible(self) -> "DataKeys":
        if (self.train_ratio > 0) != (self.val_ratio > 0):
            given = f"train-ratio, val-ratio: got {self.train_ratio:g} and {self.val_ratio:g}"
            raise ValueError(f"{given}, allowed: both above 0, or neither for the data set's own")
        if self.train_ratio + self.val_ratio >= 1:
            total = self.train_ratio + self.val_ratio
            raise ValueError(f"train-ratio + val-ratio: got {total:g}, allowed: below 1 (the rest is test)")
        return self

    @model_validator(mode="after")
    def _natural_has_a_column(self) -> "DataKeys":
        if (self.partition == "natural") != bool(self.column):
            given = f"column: got {self.column!r} with partition = {self.partition!r}"
            raise ValueError(f"{given}, allowed: a column's name with partition = 'natural', and only there")
        return self


class EngineKeys(Keys):
    """What runs the apps, and with what."""

    title: ClassVar[str] = "Engine"

    engine: Annotated[Literal["inline", "ray", "flower"], Key(Changes.NOTHING, deployed=False)] = Field(
        "inline", description="what runs the apps: inline, ray or flower"
    )
    num_workers: Annotated[int, Key(Changes.NOTHING, instead_of=("workers", "jobs"), deployed=False)] = Field(
        0, ge=0, le=100_000, description="worker processes of ray and flower; 0: one a CPU; inline has one"
    )
    ray_address: Annotated[str, Key(Changes.NOTHING, deployed=False)] = Field(
        "", description="a Ray cluster that the ray engine joins, HOST:PORT or auto; empty: start one for the run"
    )
    device: Annotated[Literal["auto", "cpu", "cuda"], Key(instead_of=("gpu",))] = Field(
        "auto", description="where clients train"
    )
    state_memory_mb: Annotated[int, NOTHING] = Field(
        1024,
        ge=0,
        description="MB in memory of clients' states, and again of the server's personal models; the rest is on disk",
    )
    round_timeout: Annotated[float, Key(Changes.NOTHING, instead_of=("timeout",))] = Field(
        3600.0, gt=0.0, description="seconds to wait for a round's replies"
    )

    @model_validator(mode="after")
    def _engine_has_workers(self) -> "EngineKeys":
        if self.engine == "inline" and self.num_workers > 1:
            allowed = "allowed: 1, or more with engine = 'ray' or 'flower'"
            raise ValueError(f"num-workers: got {self.num_workers} with engine = 'inline', {allowed}")
        if self.engine != "ray" and self.ray_address:
            given = f"got {self.ray_address!r} with engine = {self.engine!r}"
            raise ValueError(f"ray-address: {given}, allowed: only with engine = 'ray'")
        return self


class PrivacyKeys(Keys):
    """What clients do to what they send."""

    title: ClassVar[str] = "Privacy"

    dp_clip: Annotated[float, Key(instead_of=("clip", "clipping-norm"))] = Field(
        0.0, ge=0.0, description="largest norm of what a client changes in a round; 0: any. fed-avg and fed-prox only"
    )
    dp_noise: Annotated[float, Key(instead_of=("noise", "noise-multiplier"))] = Field(
        0.0, ge=0.0, description="deviation of the Gaussian noise on each value sent, as a multiple of dp-clip"
    )

    @model_validator(mode="after")
    def _noise_has_a_measure(self) -> "PrivacyKeys":
        if self.dp_noise > 0 and self.dp_clip == 0:
            raise ValueError(f"dp-noise: got {self.dp_noise:g} with dp-clip = 0, allowed: 0, or with dp-clip above 0")
        return self


class RecordingKeys(Keys):
    """What is written, and where."""

    title: ClassVar[str] = "Records"

    out: Annotated[PathText, Key(Changes.NOTHING, instead_of=("output", "out-dir", "output-dir", "folder"))] = Field(
        "", description="the run's folder; empty: runs/<algorithm>-<dataset>-<date>-<time>"
    )
    checkpoint_every: Annotated[int, NOTHING] = Field(
        1,
        ge=0,
        description="rounds between two checkpoints of a simulation, 0: only when it ends; "
        "a deployment writes one after every round",
    )
    tensorboard: Annotated[bool, NOTHING] = Field(
        False, description="write TensorBoard's event files into the run's folder; needs fedsieve[tensorboard]"
    )
    trackers: Annotated[str, Key(Changes.NOTHING, instead_of=("tracker", "logger", "loggers"))] = Field(
        "", description="what else records the rounds, such as mlflow or mlflow,wandb: fedsieve list trackers"
    )

    @property
    def tracker_names(self) -> list[str]:
        """The trackers, `tensorboard` among them."""
        names = [name.strip() for name in self.trackers.split(",") if name.strip()]
        return list(dict.fromkeys(["tensorboard"] * self.tensorboard + names))

    @model_validator(mode="after")
    def _trackers_are_known(self) -> "RecordingKeys":
        known = plugins.names(TRACKERS)
        for name in self.tracker_names:
            if name not in known:
                raise ValueError(f"trackers: got {name!r}{suggest(name, known)}, allowed: {', '.join(known)}")
        return self


GROUPS: tuple[type[Keys], ...] = (TrainingKeys, DataKeys, EngineKeys, PrivacyKeys, RecordingKeys)


def fields() -> dict[str, FieldInfo]:
    """Return every run key, as users write it, in the order of the groups; the algorithm's own excepted."""
    return {kebab(name): field for group in GROUPS for name, field in group.model_fields.items()}


def key_of(field: FieldInfo) -> Key:
    """Return what a key says of itself; one that says nothing, such as an algorithm's, changes numbers."""
    return next((mark for mark in field.metadata if isinstance(mark, Key)), Key())


def keys_that_change(*what: Changes) -> frozenset[str]:
    """Return the run keys another value of which changes this."""
    return frozenset(key for key, field in fields().items() if key_of(field).changes in what)


def keys_not_read_by(partition: str) -> frozenset[str]:
    """Return the run keys that say nothing under this partition."""
    return frozenset(key for key, field in fields().items() if not key_of(field).is_read_by(partition))


def guess_key(given: str) -> str:
    """Return the key that people mean who write `given`, "" where none is known by that name."""
    asked = given.lower().replace("_", "-")
    return next((key for key, field in fields().items() if asked in (key, *key_of(field).instead_of)), "")
