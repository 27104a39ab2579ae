from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from flwr_datasets import partitioner as library
from flwr_datasets.partitioner import DirichletPartitioner, IidPartitioner, PathologicalPartitioner, ShardPartitioner
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsieve.catalogue import FLOWER_PARTITIONS, REFUSED_PARTITIONS
from fedsieve.data.dealing import Knobs, index_lists
from fedsieve.data.image_cuts import IMAGE_PARTITIONS, iid
from fedsieve.data.image_partitions import ClientImages, check_image_clients, partition_images, split_own
from fedsieve.data.image_sets import ImageSet, load_images
from fedsieve.errors import UserError

OURS = [name for name in IMAGE_PARTITIONS if name not in FLOWER_PARTITIONS]

DEFAULTS: dict[str, Any] = {
    "seed": 1,
    "alpha": 0.5,
    "classes_per_client": 2,
    "shards_per_client": 2,
    "examples_per_client": 0,
    "train_ratio": 0.0,
    "val_ratio": 0.0,
}


def image_set(train: list[int], test: list[int] | None = None) -> ImageSet:
    labels = torch.tensor([*train, *(test or [])])
    return ImageSet(torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8), labels, len(train), int(labels.max()) + 1)


def even(classes: int = 10, each: int = 30, test_each: int = 10) -> ImageSet:
    return image_set(list(range(classes)) * each, list(range(classes)) * test_each)


def partition(name: str, data: ImageSet, num_clients: int, **knobs: Any) -> list[ClientImages]:
    return partition_images(name, data, num_clients, **(DEFAULTS | knobs))


def all_of(client: ClientImages) -> np.ndarray:
    return np.concatenate([client.train, client.val, client.test])


def held(client: ClientImages) -> np.ndarray:
    return np.concatenate([client.train, client.val])


def as_lists(clients: list[ClientImages]) -> list[list[list[int]]]:
    return [[c.train.tolist(), c.val.tolist(), c.test.tolist()] for c in clients]


def counts(data: ImageSet, images: np.ndarray) -> np.ndarray:
    return np.bincount(data.labels.numpy()[images], minlength=data.num_classes)


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, ImageSet, int, dict[str, Any]]:
    name = draw(st.sampled_from(OURS))
    classes = draw(st.integers(2, 5))
    train = draw(st.permutations([*range(classes)] * draw(st.integers(4, 12)) + [0] * draw(st.integers(0, 9))))
    test = draw(st.lists(st.integers(0, classes - 1), max_size=30))
    ratios = draw(st.sampled_from([(0.0, 0.0), (0.5, 0.25), (0.9, 0.05)]))
    knobs = {"seed": draw(st.integers(0, 99)), "alpha": 50.0, "train_ratio": ratios[0], "val_ratio": ratios[1]}
    return name, image_set(train, test), draw(st.integers(5, 8)), knobs | {"classes_per_client": 1}


@settings(deadline=None)
@given(cases(), st.integers(1, 9))
def test_each_image_belongs_to_one_client_and_a_limit_only_takes_away(
    case: tuple[str, ImageSet, int, dict[str, Any]], limit: int
):
    name, data, num_clients, knobs = case
    if name == "shards":
        knobs = knobs | {"shards_per_client": 1}
    clients = partition(name, data, num_clients, **knobs)
    assert len(clients) == num_clients
    assert sorted(np.concatenate([all_of(client) for client in clients])) == list(range(len(data.labels)))
    limited = partition(name, data, num_clients, **knobs, examples_per_client=limit)
    for whole, client in zip(clients, limited, strict=True):
        assert len(client.train) >= 1
        assert len(held(client)) == min(limit, len(held(whole)))
        assert set(held(client)) <= set(held(whole))
        assert client.test.tolist() == whole.test.tolist()
        for part in (client.train, client.val, client.test):
            assert part.tolist() == sorted(part)
            assert part.dtype == np.int64


@pytest.mark.parametrize("name", IMAGE_PARTITIONS)
def test_the_seed_alone_decides(name: str):
    data = even()
    once = as_lists(partition(name, data, 5))
    np.random.seed(5)
    assert as_lists(partition(name, data, 5)) == once
    assert as_lists(partition(name, data, 5, seed=2)) != once


def test_test_images_follow_the_training_images_by_hand(monkeypatch: pytest.MonkeyPatch):
    positions = [np.array([0, 1]), np.array([2, 3, 4, 5])]

    def by_hand(labels: np.ndarray, *_: object) -> list[np.ndarray]:
        return [np.argsort(labels, kind="stable")[rows] for rows in positions]

    monkeypatch.setitem(IMAGE_PARTITIONS, "by hand", by_hand)
    data = image_set([0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1, 0])
    clients = partition("by hand", data, 2)
    # two and one training images of class 0 share 5 for testing: 3.33 and 1.67, so 3 and 2; class 1 is client 1's
    assert [counts(data, client.test).tolist() for client in clients] == [[3, 0], [2, 2]]


@settings(deadline=None)
@given(cases())
def test_each_class_of_the_test_images_is_dealt_in_proportion(case: tuple[str, ImageSet, int, dict[str, Any]]):
    name, data, num_clients, knobs = case
    clients = partition(
        name, data, num_clients, **knobs | {"train_ratio": 0.0, "val_ratio": 0.0, "shards_per_client": 1}
    )
    if data.num_train == len(data.labels):
        return
    train = np.array([counts(data, held(client)) for client in clients])
    test = np.array([counts(data, client.test) for client in clients])
    share = train / train.sum(axis=0) * test.sum(axis=0)
    assert (abs(test - share) < 1).all()


def test_a_client_is_tested_only_on_classes_it_trains_on(caplog: pytest.LogCaptureFixture):
    data = even()
    clients = partition("pathological", data, 3, classes_per_client=2)
    for client in clients:
        assert set(np.flatnonzero(counts(data, client.test))) == set(np.flatnonzero(counts(data, held(client))))
    unheld = 10 - len({label for client in clients for label in np.flatnonzero(counts(data, client.test))})
    assert unheld >= 4
    assert caplog.messages == [
        f"{30 * unheld} of 300 images are of classes that no client holds and are ignored",
        f"{10 * unheld} of 100 test images are of classes that no client holds and are ignored",
    ]


@pytest.mark.parametrize("classes_per_client", [1, 3, 10])
def test_pathological_gives_exactly_so_many_classes(classes_per_client: int):
    data = even()
    for client in partition("pathological", data, 12, classes_per_client=classes_per_client):
        assert (counts(data, held(client)) > 0).sum() == classes_per_client


def test_shards_are_of_one_size_and_few_classes():
    data = even()
    for client in partition("shards", data, 15, shards_per_client=2):
        assert len(held(client)) == 20
        assert (counts(data, held(client)) > 0).sum() <= 2


def test_shards_of_a_set_that_cannot_be_divided_evenly_leave_no_client_empty():
    clients = partition("shards", image_set([0, 1] * 10), 11, shards_per_client=1)
    assert sorted(len(all_of(client)) for client in clients) == [1, 1, *[2] * 9]


def test_iid_parts_are_even_and_those_of_the_library():
    data = even()
    assert {len(held(client)) for client in partition("iid", data, 7)} == {42, 43}
    partitioner = IidPartitioner(7)
    partitioner.dataset = Dataset.from_dict({"row": range(100)})
    theirs = [partitioner.load_partition(client)["row"][:] for client in range(7)]
    assert [part.tolist() for part in iid(np.zeros(100, dtype=np.int64), 7, 0, Knobs(1, 1, 1))] == theirs


@pytest.mark.parametrize(
    "make",
    [
        lambda: DirichletPartitioner(4, "label", alpha=1.0, min_partition_size=0, seed=3),
        lambda: PathologicalPartitioner(4, "label", 2, seed=3),
        lambda: ShardPartitioner(4, "label", shard_size=7, keep_incomplete_shard=True, seed=3),
    ],
)
def test_the_librarys_private_index_lists_are_its_public_partitions(make: Any):
    labels = np.arange(60) * 7 % 5
    partitioner = make()
    ours = index_lists(partitioner, labels)
    assert partitioner._partition_id_to_indices.keys() == {0, 1, 2, 3}
    for client, rows in enumerate(ours):
        assert partitioner.load_partition(client)["row"][:] == rows.tolist()


LIBRARY: dict[str, Callable[[], library.Partitioner]] = {
    "IidPartitioner": lambda: library.IidPartitioner(4),
    "DirichletPartitioner": lambda: library.DirichletPartitioner(4, "label", alpha=0.7, seed=3),
    "InnerDirichletPartitioner": lambda: library.InnerDirichletPartitioner([31, 31, 30, 30], "label", 0.7, seed=3),
    "PathologicalPartitioner": lambda: library.PathologicalPartitioner(4, "label", 3, seed=3),
    "ShardPartitioner": lambda: library.ShardPartitioner(4, "label", num_shards_per_partition=3, seed=3),
    "LinearPartitioner": lambda: library.LinearPartitioner(4),
    "SquarePartitioner": lambda: library.SquarePartitioner(4),
    "ExponentialPartitioner": lambda: library.ExponentialPartitioner(4),
}


@pytest.mark.parametrize("name", FLOWER_PARTITIONS)
def test_a_partitioner_of_the_library_deals_as_it_does_there(name: str):
    labels = np.arange(122) * 7 % 5
    theirs = LIBRARY[name]()
    theirs.dataset = Dataset.from_dict({"label": labels, "row": range(122)})
    rows = [theirs.load_partition(client)["row"][:] for client in range(4)]
    ours = IMAGE_PARTITIONS[name](labels, 4, 3, Knobs(alpha=0.7, classes_per_client=3, shards_per_client=3))
    assert [share.tolist() for share in ours] == rows


def test_all_partitioners_of_the_library_are_taken_or_refused_with_a_reason():
    classes = {name for name in library.__all__ if name != "Partitioner"}
    assert {*FLOWER_PARTITIONS, *REFUSED_PARTITIONS} == classes
    assert set(FLOWER_PARTITIONS).isdisjoint(REFUSED_PARTITIONS)


def test_labels_with_gaps_are_dealt_too():
    labels = np.array([3, 9] * 20)
    shares = IMAGE_PARTITIONS["InnerDirichletPartitioner"](labels, 4, 3, Knobs(5.0, 1, 1))
    assert sorted(np.concatenate(shares)) == list(range(40))


def test_images_that_the_library_leaves_over_are_counted(caplog: pytest.LogCaptureFixture):
    partition("ShardPartitioner", image_set([0, 1] * 11), 4, shards_per_client=1)
    assert caplog.messages == ["2 of 22 images are left over when all clients have their parts, and ignored"]


def test_dirichlet_is_nearly_even_for_large_alpha_and_uneven_for_small():
    data = even(each=100)
    near = np.array([counts(data, held(client)) for client in partition("dirichlet", data, 10, alpha=1e6)])
    assert abs(near - 10).max() <= 1
    far = np.array([counts(data, held(client)) for client in partition("dirichlet", data, 10, alpha=0.1)])
    assert (far.max(axis=0) > 30).all()


def test_dirichlet_gives_an_empty_client_one_image(caplog: pytest.LogCaptureFixture):
    data = load_images("digits")
    clients = partition("dirichlet", data, 100, alpha=0.05)
    sizes = [len(all_of(client)) for client in clients]
    assert sum(sizes) == 1797
    assert min(sizes) == 1
    assert caplog.messages[0].endswith("of 100 clients drew no image; each gets one of the client with the most")


@pytest.mark.parametrize("name", OURS)
def test_thousands_of_clients_have_an_image_each(name: str):
    clients = partition(name, even(each=600, test_each=100), 2000, alpha=5.0)
    assert len(clients) == 2000
    assert min(len(client.train) for client in clients) >= 1


@pytest.mark.parametrize("name", ["dirichlet", "pathological"])
def test_ten_thousand_clients_share_the_images_without_rest(name: str):
    # 20,000 images of 10 classes for training, 2 a client, and 1,000 for testing
    data = even(classes=10, each=2000, test_each=100)
    clients = partition(name, data, 10_000, classes_per_client=1)
    assert len(clients) == 10_000
    assert sorted(np.concatenate([held(client) for client in clients])) == list(range(20_000))
    assert sorted(np.concatenate([client.test for client in clients])) == list(range(20_000, 21_000))
    sizes = np.array([len(held(client)) for client in clients])
    assert all(len(client.train) >= 1 for client in clients)
    if name == "pathological":
        assert set(sizes) == {2}  # a fifth of 2 is rounded to no image for validation
        assert all(len(client.val) == 0 for client in clients)
        assert all(len(set(data.labels.numpy()[all_of(client)])) == 1 for client in clients)


def test_a_fifth_of_the_training_images_validates_class_by_class():
    data = even()
    for client in partition("iid", data, 5):
        assert (len(client.train), len(client.val)) == (48, 12)
        assert (abs(counts(data, client.val) - counts(data, held(client)) / 5) < 1).all()


def test_without_test_images_each_client_splits_its_own():
    data = even(test_each=0)
    for client in partition("iid", data, 5):
        assert (len(client.train), len(client.val), len(client.test)) == (36, 12, 12)
        assert (abs(counts(data, client.test) - counts(data, all_of(client)) / 5) < 1).all()


def test_ratios_pool_all_images():
    for client in partition("iid", even(), 5, train_ratio=0.5, val_ratio=0.25):
        assert (len(client.train), len(client.val), len(client.test)) == (40, 20, 20)


def test_a_limit_comes_before_the_validation_images_and_leaves_the_test_images():
    whole = partition("iid", even(), 5)
    for before, client in zip(whole, partition("iid", even(), 5, examples_per_client=10), strict=True):
        assert (len(client.train), len(client.val), client.test.tolist()) == (8, 2, before.test.tolist())
    for client in partition("iid", even(test_each=0), 5, examples_per_client=10):
        assert (len(client.train), len(client.val), len(client.test)) == (8, 2, 12)  # 0.6 : 0.2 is 7.5 : 2.5


def test_a_device_splits_its_own_file():
    data = even()
    client = split_own(data, seed=1, train_ratio=0.0, val_ratio=0.0)
    assert (len(client.train), len(client.val), client.test.tolist()) == (240, 60, list(range(300, 400)))
    assert sorted(all_of(client)) == list(range(400))
    pooled = split_own(data, seed=1, train_ratio=0.5, val_ratio=0.25)
    assert [len(part) for part in (pooled.train, pooled.val, pooled.test)] == [200, 100, 100]
    assert as_lists([client]) != as_lists([split_own(data, seed=2, train_ratio=0.0, val_ratio=0.0)])


@pytest.mark.parametrize(
    ("name", "num_clients", "knobs", "sentence"),
    [
        ("metis", 2, {}, "partition = 'metis' is unknown; allowed for images are iid, dirichlet, pathological, shards"),
        ("IdiPartitioner", 2, {}, r"'IdiPartitioner' is unknown \(did you mean IidPartitioner\?\); allowed"),
        ("SizePartitioner", 2, {}, "needs what no key gives, a list of sizes; allowed for images are iid, dirichlet"),
        ("NaturalIdPartitioner", 2, {}, "needs what no key gives, a column, which is natural with column; allowed"),
        ("ExponentialPartitioner", 20, {}, "'ExponentialPartitioner' cannot deal 300 images to 20 clients: The given"),
        ("ExponentialPartitioner", 300, {}, "'ExponentialPartitioner' cannot deal 300 images to 300 clients: "),
        ("DirichletPartitioner", 40, {"alpha": 0.1}, "cannot deal 300 images to 40 clients: The max number"),
        ("InnerDirichletPartitioner", 40, {"alpha": 1e-9}, "cannot deal 300 images to 40 clients: "),
        ("PathologicalPartitioner", 2, {"classes_per_client": 11}, "cannot deal 300 images to 2 clients: The specif"),
        ("ShardPartitioner", 200, {"shards_per_client": 9}, "300 images to 200 clients: shards-per-client is 9"),
        ("iid", 0, {}, "num-clients = 0 is impossible"),
        ("iid", 301, {}, "num-clients = 301 is too many for 300 images"),
        ("iid", 2, {"examples_per_client": -1}, "examples-per-client = -1 is impossible"),
        ("iid", 2, {"train_ratio": 0.8, "val_ratio": 0.2}, "A split of train 0.8 and val 0.2 is impossible"),
        ("iid", 2, {"val_ratio": 0.2}, "A split of train 0 and val 0.2 is impossible"),
        ("dirichlet", 2, {"alpha": 0.0}, "alpha = 0 is impossible; it must be a number above 0"),
        ("dirichlet", 2, {"alpha": float("nan")}, "alpha = nan is impossible"),
        ("dirichlet", 200, {"alpha": 0.001}, r"alpha = 0.001 leaves 1\d\d of 200 clients without an image"),
        ("pathological", 2, {"classes_per_client": 11}, "classes-per-client = 11 is impossible; allowed are 1 to 10"),
        ("pathological", 2, {"classes_per_client": 0}, "classes-per-client = 0 is impossible"),
        ("pathological", 300, {"classes_per_client": 5}, "classes-per-client = 5 is too many for 300 clients and 300"),
        ("shards", 20, {"shards_per_client": 16}, "shards-per-client = 16 is impossible; allowed are 1 to 15 for 20"),
        ("shards", 20, {"shards_per_client": 0}, "shards-per-client = 0 is impossible"),
    ],
)
def test_the_impossible_is_refused_in_one_sentence(name: str, num_clients: int, knobs: dict[str, Any], sentence: str):
    with pytest.raises(UserError, match=sentence):
        partition(name, even(), num_clients, **knobs)


def client(train: int, val: int, test: int) -> ClientImages:
    return ClientImages(np.arange(train), np.arange(val), np.arange(test))


def test_clients_that_lack_a_part_are_named(caplog: pytest.LogCaptureFixture):
    check_image_clients([client(1, 1, 1)] * 2, {})
    assert not caplog.messages
    check_image_clients([client(0, 1, 1), client(1, 0, 1), *[client(1, 1, 0)] * 11, client(1, 1, 1)], {})
    assert caplog.messages == [
        "1 of 14 clients have no images for training: 0; they take part but do not train",
        "1 of 14 clients have no images for validation: 1; they do not count in the validation accuracy",
        "11 of 14 clients have no images for testing: 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...; they do not count in the "
        "test accuracy",
    ]


@pytest.mark.parametrize(
    ("sizes", "part"), [((0, 1, 1), "training"), ((1, 0, 1), "validation"), ((1, 1, 0), "testing")]
)
def test_a_part_that_no_client_has_is_refused(sizes: tuple[int, int, int], part: str):
    told = f"^num-clients = 2, val-ratio = 0.1: these leave none of the 2 clients with images for {part}, allowed: "
    with pytest.raises(UserError, match=told):
        check_image_clients([client(*sizes)] * 2, {"num-clients": 2, "val-ratio": 0.1})
