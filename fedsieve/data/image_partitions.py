"""Ways to hand the images of one set to the clients, each deterministic in the seed alone."""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedsieve.data.split import Split
from fedsieve.errors import UserError
from fedsieve.seeds import derive, random_state

if TYPE_CHECKING:
    from flwr_datasets.partitioner.partitioner import Partitioner

    from fedsieve.data.image_sets import ImageSet

_log = logging.getLogger("fedsieve")

Indices: TypeAlias = NDArray[np.int64]

OWN_TEST_VAL = 0.2
"""The validation share of a client's training images where the set has test images of its own."""

POOLED = Split(train=0.6, val=0.2)
"""The shares of a client's images where the set has no test images of its own."""

_SHOWN = 10
_MISSING = {
    "train": "they take part but do not train",
    "val": "they do not count in the validation accuracy",
    "test": "they do not count in the test accuracy",
}


@dataclass(frozen=True)
class ClientImages:
    """One client's images: sorted indices into `ImageSet.images`, no image twice."""

    train: Indices
    val: Indices
    test: Indices


@dataclass(frozen=True)
class Knobs:
    """What the single partitions are told; each reads its own."""

    alpha: float
    classes_per_client: int
    shards_per_client: int


@dataclass(frozen=True)
class ImagePartition:
    """One way to cut: `cut(labels, num_clients, seed, knobs)` gives each client's positions in the shuffled labels."""

    summary: str
    cut: Callable[[Indices, int, int, Knobs], list[Indices]]


def partition_images(
    name: str,
    data: "ImageSet",
    num_clients: int,
    *,
    seed: int,
    alpha: float,
    classes_per_client: int,
    shards_per_client: int,
    examples_per_client: int,
    train_ratio: float,
    val_ratio: float,
) -> list[ClientImages]:
    """Return each client's images; each holds at least one for training.

    The set's own training images are partitioned, and its own test images are dealt out class by class in proportion to
    the clients' training images, so that each client is tested on what it trains on. Without test images, or when
    ratios are given, all images are partitioned and each client's are split. `examples_per_client` above 0 limits
    training and validation together; the test images stay.

    Raises `UserError` for an unknown name, impossible numbers and more clients than images.
    """
    if name not in IMAGE_PARTITIONS:
        raise UserError(f"partition = {name!r} is unknown; allowed for images are {', '.join(IMAGE_PARTITIONS)}.")
    if num_clients < 1:
        raise UserError(f"num-clients = {num_clients} is impossible; at least 1 is needed.")
    if examples_per_client < 0:
        raise UserError(f"examples-per-client = {examples_per_client} is impossible; 0 takes all, above 0 is a limit.")
    plan = _plan(data, train_ratio, val_ratio)
    if num_clients > len(plan.pool):
        raise UserError(
            f"num-clients = {num_clients} is too many for {len(plan.pool)} images; each client needs at least one."
        )
    labels = data.labels.numpy()
    order = random_state(seed, "image partition").permutation(plan.pool)
    knobs = Knobs(alpha, classes_per_client, shards_per_client)
    cut = IMAGE_PARTITIONS[name].cut(labels[order], num_clients, derive(seed, "image partition"), knobs)
    shares = [order[positions] for positions in cut]
    unheld = len(order) - sum(map(len, shares))
    if unheld:
        _log.warning("%d of %d images are of classes that no client holds and are left out", unheld, len(order))
    tests = _deal(plan.test_images, labels, shares, seed)
    return [
        _client(share, test, labels, plan, examples_per_client, seed, client)
        for client, (share, test) in enumerate(zip(shares, tests, strict=True))
    ]


def split_own(data: "ImageSet", *, seed: int, train_ratio: float, val_ratio: float) -> ClientImages:
    """Return the split of a set that belongs to one client: as `partition_images` splits a client's share."""
    plan = _plan(data, train_ratio, val_ratio)
    return _client(plan.pool, plan.test_images, data.labels.numpy(), plan, 0, seed, 0)


def check_image_clients(clients: Sequence[ClientImages]) -> None:
    """Warn about clients without training, validation or test images. Raises `UserError` when no client has any."""
    for part, meaning in _MISSING.items():
        lacking = [i for i, client in enumerate(clients) if not len(getattr(client, part))]
        if len(lacking) == len(clients):
            raise UserError(f"None of the {len(clients)} clients has an image for {part}; at least one must have one.")
        if lacking:
            ids = ", ".join(map(str, lacking[:_SHOWN])) + (", ..." if len(lacking) > _SHOWN else "")
            _log.warning(
                "%d of %d clients have no image for %s: %s; %s", len(lacking), len(clients), part, ids, meaning
            )


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


IMAGE_PARTITIONS: dict[str, ImagePartition] = {
    "iid": ImagePartition("images at random, in parts of like size", iid),
    "dirichlet": ImagePartition("each class divided by a Dirichlet draw: unlike classes and sizes; alpha", dirichlet),
    "pathological": ImagePartition("a fixed number of classes a client; classes-per-client", pathological),
    "shards": ImagePartition("images sorted by class, dealt out in shards; shards-per-client", shards),
}


def index_lists(partitioner: "Partitioner", labels: Indices) -> list[Indices]:
    """Return all positions that one of flwr-datasets' partitioners deals out.

    It has no public way to these but a Dataset a client; `num_partitions` makes it draw.
    """
    from datasets import Dataset

    partitioner.dataset = Dataset.from_dict({"label": labels, "row": np.arange(len(labels))})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on classes left out, which `partition_images` logs, and from pyarrow's sort
        num_clients = partitioner.num_partitions
    rows = np.array(partitioner.dataset["row"][:], dtype=np.int64)  # shards have sorted it
    dealt = partitioner._partition_id_to_indices
    return [rows[np.array(dealt[client], dtype=np.int64)] for client in range(num_clients)]


@dataclass(frozen=True)
class _Plan:
    """What is partitioned, what is dealt out for testing, and which shares of a client's images are split off."""

    pool: Indices
    test_images: Indices
    test: float
    val_of_rest: float


def _plan(data: "ImageSet", train_ratio: float, val_ratio: float) -> _Plan:
    all_images = np.arange(len(data.labels))
    asked = bool(train_ratio or val_ratio)
    if data.num_train < len(all_images) and not asked:
        return _Plan(all_images[: data.num_train], all_images[data.num_train :], 0.0, OWN_TEST_VAL)
    split = Split(train_ratio, val_ratio) if asked else POOLED
    return _Plan(all_images, all_images[:0], 1 - split.train - split.val, split.val / (split.train + split.val))


def _client(
    share: Indices, test: Indices, labels: Indices, plan: _Plan, limit: int, seed: int, client: int
) -> ClientImages:
    random = random_state(seed, "image split", client)
    split_off, rest = _draw(share, labels, plan.test, random)
    if 0 < limit < len(rest):
        rest = random.choice(rest, limit, replace=False)
    val, train = _draw(rest, labels, plan.val_of_rest, random)
    return ClientImages(np.sort(train), np.sort(val), np.sort(np.concatenate([test, split_off])))


def _draw(images: Indices, labels: Indices, fraction: float, random: np.random.RandomState) -> tuple[Indices, Indices]:
    """Return the fraction drawn, each class in proportion, and what is left: at least one image.

    It is systematic sampling: every k-th image from a random start, ordered by class and within a class at random.
    """
    count = min(round(fraction * len(images)), len(images) - 1)
    order = random.permutation(images)
    order = order[np.argsort(labels[order], kind="stable")]
    drawn = np.zeros(len(order), dtype=bool)
    if count > 0:
        drawn[(random.randint(len(order)) + np.arange(count) * len(order)) // count] = True
    return order[drawn], order[~drawn]


def _deal(images: Indices, labels: Indices, shares: Sequence[Indices], seed: int) -> list[Indices]:
    """Return each client's test images: of each class in proportion to what its share holds, by largest remainders."""
    random = random_state(seed, "image test")
    holder = np.repeat(np.arange(len(shares)), [len(share) for share in shares])
    held = labels[np.concatenate(shares)]
    client_of = np.full(len(images), -1)
    for label in np.unique(labels[images]):
        weights = np.bincount(holder[held == label], minlength=len(shares))
        if weights.any():
            chosen = random.permutation(np.flatnonzero(labels[images] == label))
            client_of[chosen] = np.repeat(np.arange(len(shares)), _apportion(len(chosen), weights, random))
    undealt = int((client_of < 0).sum())
    if undealt:
        _log.warning("%d of %d test images are of classes that no client holds and are left out", undealt, len(images))
    order = np.argsort(client_of, kind="stable")
    return np.split(images[order], np.searchsorted(client_of[order], np.arange(len(shares) + 1)))[1:-1]


def _apportion(total: int, weights: Indices, random: np.random.RandomState) -> Indices:
    """Return whole numbers in proportion to the weights, `total` in sum; equal remainders are taken at random."""
    quotas, remainders = np.divmod(total * weights, weights.sum())
    order = np.lexsort((random.permutation(len(weights)), -remainders))
    quotas[order[: total - quotas.sum()]] += 1
    return quotas


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
