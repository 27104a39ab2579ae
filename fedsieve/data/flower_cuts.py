"""flwr-datasets' partitioners by their own names, with the keys of a run and otherwise the library's own defaults."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fedsieve.data.dealing import Cut, Indices, Knobs, index_lists
from fedsieve.errors import UserError, one_line

if TYPE_CHECKING:
    from flwr_datasets.partitioner.partitioner import Partitioner


def deal(name: str, labels: Indices, num_clients: int, seed: int, knobs: Knobs) -> list[Indices]:
    """Return each client's positions, as the partitioner of this name deals them.

    Raises `UserError` with the library's own words when it cannot.
    """
    numbers = np.unique(labels, return_inverse=True)[1].astype(np.int64)  # some of them count on labels 0, 1, ...
    try:
        shares = index_lists(_make(name, len(labels), num_clients, seed, knobs), numbers)
    except ValueError as error:
        raise UserError(
            f"partition = {name!r} cannot deal {len(labels):,} images to {num_clients:,} clients: "
            f"{one_line(error).rstrip('. ').replace('. ', '; ')}."
        ) from error
    if (empty := sum(not len(share) for share in shares)) > 0:
        raise UserError(
            f"partition = {name!r} leaves {empty} of {num_clients} clients without an image; lower num-clients."
        )
    return shares


def _make(name: str, count: int, num_clients: int, seed: int, knobs: Knobs) -> "Partitioner":
    from flwr_datasets import partitioner as library

    match name:
        case "DirichletPartitioner":
            return library.DirichletPartitioner(num_clients, "label", alpha=knobs.alpha, seed=seed)
        case "InnerDirichletPartitioner":
            sizes = [len(part) for part in np.array_split(np.arange(count), num_clients)]
            return library.InnerDirichletPartitioner(sizes, "label", alpha=knobs.alpha, seed=seed)
        case "PathologicalPartitioner":
            return library.PathologicalPartitioner(num_clients, "label", knobs.classes_per_client, seed=seed)
        case "ShardPartitioner":
            if num_clients * knobs.shards_per_client > count:  # the library would divide by a size of 0
                raise ValueError(f"shards-per-client is {knobs.shards_per_client}, more shards than images")
            return library.ShardPartitioner(
                num_clients, "label", num_shards_per_partition=knobs.shards_per_client, seed=seed
            )
    return getattr(library, name)(num_clients)


def cut_as(name: str) -> Cut:
    """Return the cut of the partitioner of this name."""
    return partial(deal, name)
