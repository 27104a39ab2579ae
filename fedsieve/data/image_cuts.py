"""Ways to cut the images of one set into clients' shares by their labels: flwr-datasets' partitioners."""

import numpy as np

from fedsieve.catalogue import FLOWER_PARTITIONS
from fedsieve.data.dealing import Cut, Indices, Knobs, deal_by_dirichlet, index_lists
from fedsieve.data.flower_cuts import cut_as
from fedsieve.errors import UserError


def iid(labels: Indices, num_clients: int, _: int, __: Knobs) -> list[Indices]:
    """Deal the images out at random, in parts of like size.

    These are `IidPartitioner`'s parts, as a test asserts; it can only be asked for a Dataset a client, 1 ms each.
    """
    return np.array_split(np.arange(len(labels)), num_clients)


def dirichlet(labels: Indices, num_clients: int, seed: int, knobs: Knobs) -> list[Indices]:
    """Divide each class by a draw from Dir(alpha) (Yurochkin et al. 2019), once; each empty client then gets one image.

    Raises `UserError` when more than half of the clients would be empty.
    """
    return deal_by_dirichlet(labels, num_clients, seed, knobs.alpha, "image")


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
    **{name: cut_as(name) for name in FLOWER_PARTITIONS},
    "IidPartitioner": iid,
}
