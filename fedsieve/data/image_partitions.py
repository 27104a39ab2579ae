"""What each client holds of an image set: its share, split for training, validation and testing by the seed alone."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedsieve.catalogue import OWN_PARTITIONS, REFUSED_PARTITIONS
from fedsieve.data.dealing import Indices, Knobs
from fedsieve.data.image_cuts import IMAGE_PARTITIONS
from fedsieve.data.lacking import check_parts
from fedsieve.data.split import Split
from fedsieve.errors import UserError, suggest
from fedsieve.seeds import derive, random_state

if TYPE_CHECKING:
    from fedsieve.data.image_sets import ImageSet

_log = logging.getLogger("fedsieve")

OWN_TEST_VAL = 0.2
"""The validation share of a client's training images where the set has test images of its own."""

POOLED = Split(train=0.6, val=0.2)
"""The shares of a client's images where the set has no test images of its own."""


@dataclass(frozen=True)
class ClientImages:
    """One client's images: sorted indices into `ImageSet.images`, no image twice."""

    train: Indices
    val: Indices
    test: Indices


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
        names = [*IMAGE_PARTITIONS, *OWN_PARTITIONS]
        fault = f"is unknown{suggest(name, names)}"
        if name in REFUSED_PARTITIONS:
            fault = f"needs what no key gives, {REFUSED_PARTITIONS[name]}"
        raise UserError(f"partition = {name!r} {fault}; allowed for images are {', '.join(names)}.")
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
    cut = IMAGE_PARTITIONS[name](labels[order], num_clients, derive(seed, "image partition"), knobs)
    shares = [order[positions] for positions in cut]
    _log_unheld(order, labels, shares)
    tests = _deal(plan.test_images, labels, shares, seed)
    return [
        _client(share, test, labels, plan, examples_per_client, seed, client)
        for client, (share, test) in enumerate(zip(shares, tests, strict=True))
    ]


def split_own(data: "ImageSet", *, seed: int, train_ratio: float, val_ratio: float) -> ClientImages:
    """Return the split of a set that belongs to one client: its own, or as `partition_images` splits a client's share.

    Images are for validation as the set says, unless ratios are given.
    """
    if data.num_val is not None and not (train_ratio or val_ratio):
        every = np.arange(len(data.labels))
        train, val, test = np.split(every, [data.num_train, data.num_train + data.num_val])
        return ClientImages(train, val, test)
    plan = _plan(data, train_ratio, val_ratio)
    return _client(plan.pool, plan.test_images, data.labels.numpy(), plan, 0, seed, 0)


def split_held(
    data: "ImageSet", *, seed: int, examples_per_client: int, train_ratio: float, val_ratio: float
) -> list[ClientImages]:
    """Return the images of each client that the set names as a holder, the test images that it holds for testing.

    Each one's split is the set's own where it says which images are for validation, else drawn as in
    `partition_images`.
    """
    assert data.holders is not None
    plan, labels = _plan(data, train_ratio, val_ratio), data.labels.numpy()
    shares = [np.flatnonzero(data.holders.of == client) for client in range(len(data.holders.names))]
    if lost := len(labels) - sum(map(len, shares)):
        _log.warning("%d of %d images have no holder and are ignored", lost, len(labels))
    if data.num_val is not None and not (train_ratio or val_ratio):
        ends = [data.num_train, data.num_train + data.num_val]
        return [ClientImages(*np.split(share, np.searchsorted(share, ends))) for share in shares]
    parts = (np.split(share, np.searchsorted(share, [len(plan.pool)])) for share in shares)
    return [
        _client(pool, test, labels, plan, examples_per_client, seed, client)
        for client, (pool, test) in enumerate(parts)
    ]


def check_image_clients(clients: Sequence[ClientImages], given: Mapping[str, object]) -> None:
    """Warn about clients without training, validation or test images; `given`: the keys that decide it.

    Raises `UserError` when no client has any.
    """
    counts = [(len(client.train), len(client.val), len(client.test)) for client in clients]
    check_parts("images", counts, given)


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
    num_pool = data.num_train + (data.num_val or 0)
    if num_pool < len(all_images) and not asked:
        return _Plan(all_images[:num_pool], all_images[num_pool:], 0.0, OWN_TEST_VAL)
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
    count = max(0, min(round(fraction * len(images)), len(images) - 1))
    order = random.permutation(images)
    order = order[np.argsort(labels[order], kind="stable")]
    drawn = np.zeros(len(order), dtype=bool)
    if count > 0:
        drawn[(random.randint(len(order)) + np.arange(count) * len(order)) // count] = True
    return order[drawn], order[~drawn]


def _log_unheld(images: Indices, labels: Indices, shares: Sequence[Indices]) -> None:
    """Warn about images that no client holds: of classes that none has, or left over of others."""
    held = np.concatenate(shares)
    unheld = np.setdiff1d(images, held)
    of_none = int((~np.isin(labels[unheld], labels[held])).sum())
    if of_none:
        _log.warning("%d of %d images are of classes that no client holds and are ignored", of_none, len(images))
    if left := len(unheld) - of_none:
        _log.warning("%d of %d images are left over when all clients have their parts, and ignored", left, len(images))


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
        _log.warning("%d of %d test images are of classes that no client holds and are ignored", undealt, len(images))
    order = np.argsort(client_of, kind="stable")
    return np.split(images[order], np.searchsorted(client_of[order], np.arange(len(shares) + 1)))[1:-1]


def _apportion(total: int, weights: Indices, random: np.random.RandomState) -> Indices:
    """Return whole numbers in proportion to the weights, `total` in sum; equal remainders are taken at random."""
    quotas, remainders = np.divmod(total * weights, weights.sum())
    order = np.lexsort((random.permutation(len(weights)), -remainders))
    quotas[order[: total - quotas.sum()]] += 1
    return quotas
