"""Ways to cut the images of one set into clients' shares by their labels: flwr-datasets' partitioners."""

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedsieve.errors import UserError
from fedsieve.seeds import random_state

if TYPE_CHECKING:
    from flwr_datasets.partitioner.partitioner import Partitioner

_log = logging.getLogger("fedsieve")

Indices: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Knobs:
    """What the single partitions are told; each reads its own."""

    alpha: float
    classes_per_client: int
    shards_per_client: int


Cut: TypeAlias = Callable[[Indices, int, int, Knobs], list[Indices]]
"""`cut(labels, num_clients, seed, knobs)` gives each client's positions in the shuffled labels."""


def iid(labels: Indices, num_clients: int, _: int, __: Knobs) -> list[Indices]:
    """Deal the images out at random, in parts of like size.

    These are `IidPartitioner`'s parts, as a test asserts; it can only be asked for a Dataset a client, 1 ms each.
    """
    return np.array_split(np.arange(len(labels)), num_clients)


def dirichlet(labels: Indices, num_clients: int, seed: int, knobs: Knobs) -> list[Indices]:
    """Divide each class by a draw from Dir(alpha) (Yurochkin et al. 2019), once; each empty client then gets one image.

    Raises `UserError` when more than half of the clients would be empty.
    """
    from flwr_datasets.partitioner import DirichletPartitioner

    if not 0 < knobs.alpha < np.inf:
        raise UserError(f"alpha = {knobs.alpha:g} is impossible; it must be a number above 0.")
    partitioner = DirichletPartitioner(
        num_clients, "label", alpha=float(knobs.alpha), min_partition_size=0, shuffle=False, seed=seed
    )
    shares = index_lists(partitioner, labels)
    empty = sum(not len(share) for share in shares)
    if 2 * empty > num_clients:
        raise UserError(
            f"alpha = {knobs.alpha:g} leaves {empty} of {num_clients} clients without an image; raise alpha or lower "
            "num-clients."
        )
    return _fill(shares, seed) if empty else shares


def pathological(labels: Indices, num_clients: int, seed: int, knobs: Knobs) -> list[Indices]:
    """Give each client images of exactly `classes_per_client` classes (Li et al. 2022).

    A client's first class is its number modulo the number of classes, the others are drawn.

    Raises `UserError` when there are fewer classes, or a class has fewer images than clients that should hold it.
    """
    from flwr_datasets.partitioner import PathologicalPartitioner

    classes = len(np.unique(labels))
    if not 1 <= knobs.classes_per_client <= classes:
        raise UserError(
            f"classes-per-client = {knobs.classes_per_client} is impossible; allowed are 1 to {classes}, the number of "
            "classes."
        )
    # all classes: the library would draw until it has met the last one
    mode = "deterministic" if knobs.classes_per_client == classes else "first-deterministic"
    partitioner = PathologicalPartitioner(
        num_clients, "label", knobs.classes_per_client, class_assignment_mode=mode, shuffle=False, seed=seed
    )
    try:
        return index_lists(partitioner, labels)
    except ValueError as error:
        raise UserError(
            f"classes-per-client = {knobs.classes_per_client} is too many for {num_clients} clients and {len(labels)} "
            "images: a class has fewer images than clients that should hold it; lower it or num-clients."
        ) from error


def shards(labels: Indices, num_clients: int, seed: int, knobs: Knobs) -> list[Indices]:
    """Sort the images by class, cut them in shards of one size and deal these out (McMahan et al. 2017).

    Where the images cannot be divided evenly the last shard is smaller, and some clients hold a shard less or more.

    Raises `UserError` when there are more shards than images.
    """
    from flwr_datasets.partitioner import ShardPartitioner

    wanted = num_clients * knobs.shards_per_client
    if not num_clients <= wanted <= len(labels):
        raise UserError(
            f"shards-per-client = {knobs.shards_per_client} is impossible; allowed are 1 to "
            f"{len(labels) // num_clients} for {num_clients} clients and {len(labels)} images."
        )
    size = -(-len(labels) // wanted)
    if -(-len(labels) // size) < num_clients:
        size = len(labels) // wanted
    partitioner = ShardPartitioner(
        num_clients, "label", shard_size=size, keep_incomplete_shard=True, shuffle=False, seed=seed
    )
    return index_lists(partitioner, labels)


IMAGE_PARTITIONS: dict[str, Cut] = {
    "iid": iid,
    "dirichlet": dirichlet,
    "pathological": pathological,
    "shards": shards,
}


def index_lists(partitioner: "Partitioner", labels: Indices) -> list[Indices]:
    """Return all positions that one of flwr-datasets' partitioners deals out.

    It has no public way to these but a Dataset a client; `num_partitions` makes it draw.
    """
    from datasets import Dataset

    partitioner.dataset = Dataset.from_dict({"label": labels, "row": np.arange(len(labels))})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on ignored classes, which `partition_images` logs, and from pyarrow's sort
        num_clients = partitioner.num_partitions
    rows = np.array(partitioner.dataset["row"][:], dtype=np.int64)  # shards have sorted it
    dealt = partitioner._partition_id_to_indices
    return [rows[np.array(dealt[client], dtype=np.int64)] for client in range(num_clients)]


def _fill(shares: list[Indices], seed: int) -> list[Indices]:
    """Move one image, drawn at random, to each empty share from the largest, the first among equals."""
    random = random_state(seed, "image partition: empty clients")
    sizes = np.array([len(share) for share in shares])
    empty = np.flatnonzero(sizes == 0)
    _log.warning("%d of %d clients drew no image; each gets one of the client with the most", len(empty), len(shares))
    for client in empty:
        giver = int(sizes.argmax())
        moved = random.randint(sizes[giver])
        shares[client] = shares[giver][moved : moved + 1]
        shares[giver] = np.delete(shares[giver], moved)
        sizes[giver] -= 1
    return shares
