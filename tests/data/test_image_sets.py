import logging
from pathlib import Path
from urllib.error import URLError

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from fedsieve.data import own_images
from fedsieve.data.image_sets import IMAGE_DATASETS, ImageSet, load_images
from fedsieve.errors import UserError

SHADES = [0, 50, 100, 150]


def write(path: Path, labels: list[int], image: str = "image", label: str = "label") -> None:
    """Write 2 x 3 grey images, each of one shade."""
    features = datasets.Features({image: datasets.Image(), label: datasets.Value("int64")})
    images = [Image.new("L", (3, 2), shade) for shade in SHADES[: len(labels)]]
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict({image: images, label: labels}, features=features).to_parquet(path)


@pytest.fixture
def mnist(folders: Path) -> Path:
    """A tiny set where MNIST's files should lie; its labels leave gaps."""
    write(folders / "raw" / "mnist" / "train.parquet", [1, 5, 1])
    write(folders / "raw" / "mnist" / "test.parquet", [5, 3])
    return folders / "raw" / "mnist"


def same(a: ImageSet, b: ImageSet) -> bool:
    return (
        torch.equal(a.images, b.images)
        and torch.equal(a.labels, b.labels)
        and (a.num_train, a.num_classes) == (b.num_train, b.num_classes)
    )


def test_the_digits_are_embedded(folders: Path):
    data = load_images("digits")
    assert (data.images.shape, data.images.dtype) == ((1797, 1, 8, 8), torch.uint8)
    assert (data.labels.dtype, data.num_train, data.num_classes) == (torch.int64, 1797, 10)
    assert len(data.images.unique()) == 17
    assert (data.images.min(), data.images.max()) == (0, 255)
    assert not (folders / "cache").exists()


def test_training_images_come_first_and_labels_are_without_gaps(mnist: Path):
    data = load_images("mnist")
    assert data.images.shape == (5, 1, 2, 3)
    assert data.images[:, 0, 0, 0].tolist() == [0, 50, 100, 0, 50]
    assert data.labels.tolist() == [0, 2, 0, 2, 1]
    assert (data.labels.dtype, data.num_train, data.num_classes) == (torch.int64, 3, 3)


def test_images_are_decoded_once(mnist: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []
    real = own_images.decode
    monkeypatch.setattr(own_images, "decode", lambda *given: calls.append(1) or real(*given))
    first = load_images("mnist")
    assert same(first, load_images("mnist"))
    assert len(calls) == 1
    write(mnist / "test.parquet", [5, 1, 3])
    assert len(load_images("mnist").labels) == 6
    assert len(calls) == 2


def test_a_damaged_cache_file_is_made_again(mnist: Path, folders: Path, caplog: pytest.LogCaptureFixture):
    data = load_images("mnist")
    (file,) = (folders / "cache" / "images").iterdir()
    file.write_bytes(file.read_bytes()[:50])
    assert same(data, load_images("mnist"))
    assert "is damaged" in caplog.text
    caplog.clear()
    assert same(data, load_images("mnist"))
    assert not caplog.messages


def test_missing_files_are_downloaded_and_kept(folders: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def download(url: str, path: str, progress: bool) -> None:
        assert not progress
        asked.append(url)
        write(Path(path), [1, 2])

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    data = load_images("emnist")
    assert data.labels.tolist() == [0, 1, 0, 1]
    assert [url.split("/datasets/")[1] for url in asked] == [
        f"tanganke/emnist_letters/resolve/main/emnist-letters/{part}-00000-of-00001.parquet"
        for part in ("train", "test")
    ]
    assert sorted(path.name for path in (folders / "raw" / "emnist").iterdir()) == ["test.parquet", "train.parquet"]
    assert same(data, load_images("emnist"))
    assert len(asked) == 2


def test_without_network_one_sentence_says_what_to_do(folders: Path, monkeypatch: pytest.MonkeyPatch):
    def download(*given: object, **named: object) -> None:
        raise URLError("no route")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(
        UserError, match=r"'cifar10' is not in .*raw/cifar10 and could not be downloaded .*no route.*put"
    ):
        load_images("cifar10")


def test_damaged_raw_files_are_named(mnist: Path):
    (mnist / "test.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"mnist/test\.parquet could not be read as parquet"):
        load_images("mnist")


@pytest.mark.parametrize("dataset", ["cora", "nothing", "graph.npz", ""])
def test_an_unknown_name_is_told_what_is_allowed(dataset: str):
    with pytest.raises(UserError) as caught:
        load_images(dataset)
    for allowed in (repr(dataset), *IMAGE_DATASETS, ".parquet", "folder"):
        assert allowed in str(caught.value)
    assert "pubmed" not in str(caught.value)


def test_a_missing_file_is_told():
    with pytest.raises(UserError, match=r"no/such\.parquet': there is no such file"):
        load_images("no/such.parquet")


def test_nothing_is_written_elsewhere(
    mnist: Path, folders: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("HOME", str(folders / "home"))
    load_images("mnist")
    assert {path.name for path in folders.iterdir()} == {"cache", "raw"}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "shape", "num_train", "mean"),
    [("mnist", (70000, 1, 28, 28), 60000, 0.1309), ("cifar10", (60000, 3, 32, 32), 50000, 0.4738)],
)
def test_the_real_images(
    name: str,
    shape: tuple[int, ...],
    num_train: int,
    mean: float,
    real_data: Path,
    folders: Path,
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.INFO, "fedsieve")
    data = load_images(name)
    assert (data.images.shape, data.labels.shape) == (shape, shape[:1])
    assert (data.num_train, data.num_classes) == (num_train, 10)
    assert data.images.numpy().mean(dtype=np.float64) / 255 == pytest.approx(mean, abs=5e-4)
    assert same(data, load_images(name))
    assert not caplog.messages
