from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from fedsieve.data.image_sets import load_images
from fedsieve.errors import UserError

FEATURES = datasets.Features(
    {"image": datasets.Image(), "label": datasets.ClassLabel(names=["x", "y"]), "writer": datasets.Value("string")}
)


def split(first: int, count: int) -> datasets.Dataset:
    shades = range(first, first + count)
    images = [Image.fromarray(np.full((4, 4), shade, np.uint8)) for shade in shades]
    rows = {"image": images, "label": [shade % 2 for shade in shades], "writer": [f"w{shade % 3}" for shade in shades]}
    return datasets.Dataset.from_dict(rows, features=FEATURES)


def use(monkeypatch: pytest.MonkeyPatch, given: Any) -> list[tuple[str, ...]]:
    asked: list[tuple[str, ...]] = []

    def load(*arguments: str) -> Any:
        asked.append(arguments)
        if isinstance(given, Exception):
            raise given
        return given

    monkeypatch.setattr(datasets, "load_dataset", load)
    return asked


def test_the_splits_of_a_set_are_read_in_the_order_of_their_uses(monkeypatch: pytest.MonkeyPatch):
    splits = {"test": split(50, 2), "train": split(0, 4), "validation": split(20, 1), "extra": split(90, 1)}
    asked = use(monkeypatch, datasets.DatasetDict(splits))
    for _ in range(2):  # the second time from the cache
        data = load_images("hf:me/shades/small", column="writer")
        assert data.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 20, 50, 51]
        assert (data.num_train, data.num_val, data.names) == (4, 1, ("x", "y"))
        assert data.labels.tolist() == [0, 1, 0, 1, 0, 0, 1]
        assert data.holders is not None
        assert data.holders.of.tolist() == [0, 1, 2, 0, 2, 2, 0]
    assert asked == [("me/shades", "small")] * 2


def test_the_only_split_is_trained_on(monkeypatch: pytest.MonkeyPatch):
    use(monkeypatch, datasets.DatasetDict({"all": split(0, 4)}))
    assert load_images("hf:me/shades").num_train == 4


@pytest.mark.parametrize(
    ("dataset", "given", "sentence"),
    [
        ("hf:mnist", None, "dataset: got 'hf:mnist', allowed: hf:OWNER/NAME"),
        ("hf:a/b", ConnectionError("no network"), r"cannot be loaded \(ConnectionError: no network\), allowed"),
        (
            "hf:a/b",
            datasets.DatasetDict({"one": split(0, 2), "two": split(2, 2)}),
            "whose splits are one, two",
        ),
    ],
)
def test_what_cannot_be_loaded_is_a_sentence(dataset: str, given: Any, sentence: str, monkeypatch: pytest.MonkeyPatch):
    use(monkeypatch, given)
    with pytest.raises(UserError, match=sentence):
        load_images(dataset)


def test_a_column_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch):
    use(monkeypatch, datasets.DatasetDict({"train": split(0, 4)}))
    with pytest.raises(UserError, match="hf:a/b: has no column 'writer_id'; allowed: image, label, writer"):
        load_images("hf:a/b", column="writer_id")
