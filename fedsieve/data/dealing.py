"""Labels dealt out by flwr-datasets' partitioners, as positions; and Dirichlet's draw, for images and nodes."""

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
    """What the single partitions of images are told; each reads its own."""

    alpha: float
    classes_per_client: int
    shards_per_client: int


Cut: TypeAlias = Callable[[Indices, int, int, Knobs], list[Indices]]
"""`cut(labels, num_clients, seed, knobs)` gives each client's positions in the shuffled labels."""


def deal_by_dirichlet(
    labels: Indices, num_clients: int, seed: int, alpha: float, noun: str, *, balanced: bool = False
) -> list[Indices]:
    """Divide each label by a draw from Dir(alpha), once; each empty client then gets one example, called a `noun`.

    `balanced`: a client with more than an equal share gets nothing of the labels that follow.

    Raises `UserError` when more than half of the clients would be empty.
    """
    from flwr_datasets.partitioner import DirichletPartitioner

    if not 0 < alpha < np.inf:
        raise UserError(f"alpha = {alpha:g} is impossible; it must be a number above 0.")
    partitioner = DirichletPartitioner(
        num_clients,
        "label",
        alpha=float(alpha),
        min_partition_size=0,
        self_balancing=balanced,
        shuffle=False,
        seed=seed,
    )
    shares = index_lists(partitioner, labels)
    empty = sum(not len(share) for share in shares)
    if 2 * empty > num_clients:
        raise UserError(
            f"alpha = {alpha:g} leaves {empty} of {num_clients} clients without {_with_article(noun)}; raise alpha or "
            "lower num-clients."
        )
    return _fill(shares, seed, noun) if empty else shares


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


def _fill(shares: list[Indices], seed: int, noun: str) -> list[Indices]:
    """Move one example, drawn at random, to each empty share from the largest, the first among equals."""
    random = random_state(seed, f"{noun} partition: empty clients")
    sizes = np.array([len(share) for share in shares])
    empty = np.flatnonzero(sizes == 0)
    _log.warning("%d of %d clients drew no %s; each gets one of the client with the most",
                 len(empty), len(shares), noun)  # fmt: skip
    for client in empty:
        giver = int(sizes.argmax())
        moved = random.randint(sizes[giver])
        shares[client] = shares[giver][moved : moved + 1]
        shares[giver] = np.delete(shares[giver], moved)
        sizes[giver] -= 1
    return shares


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
