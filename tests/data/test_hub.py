from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from fedsieve.data.image_sets import load_images
from fedsieve.data.own_images import Columns
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


SEVERAL = datasets.Features(
    {
        "front": datasets.Image(),
        "back": datasets.Image(),
        "kind": datasets.ClassLabel(names=["x", "y"]),
        "age": datasets.Value("int64"),
        "writer": datasets.Value("string"),
    }
)


def write_several(folder: Path) -> datasets.DatasetDict:
    """Write a folder of parquet files, as a set of the hub is laid out, and return it as `datasets` loads it."""
    front, back = ([Image.fromarray(np.full((4, 4), shade + more, np.uint8)) for shade in range(4)] for more in (0, 50))
    rows = {"front": front, "back": back, "kind": [0, 1, 0, 1], "age": [3, 3, 4, 5], "writer": ["a", "b", "b", "a"]}
    datasets.Dataset.from_dict(rows, features=SEVERAL).to_parquet(str(folder / "train.parquet"))
    return datasets.load_dataset("parquet", data_files={"train": str(folder / "train.parquet")}, cache_dir=str(folder))


def test_columns_are_named_where_several_could_be_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    use(monkeypatch, write_several(tmp_path))
    assert load_images("hf:me/both").images[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    kinds = load_images("hf:me/both", columns=Columns("back", "kind"), column="writer")
    assert (kinds.images[:, 0, 0, 0].tolist(), kinds.labels.tolist()) == ([50, 51, 52, 53], [0, 1, 0, 1])
    assert kinds.names == ("x", "y")
    assert kinds.holders is not None
    ages = load_images("hf:me/both", columns=Columns("front", "age"))  # not what is in the cache
    assert (ages.images[:, 0, 0, 0].tolist(), ages.labels.tolist()) == ([0, 1, 2, 3], [3, 3, 4, 5])


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (Columns("side", "kind"), "image-column = 'side' is no column; allowed: front, back"),
        (Columns("age", "kind"), "image-column = 'age' does not hold encoded images; allowed: front, back"),
        (Columns("", "sort"), "label-column = 'sort' is no column; allowed: kind, age, writer"),
        (Columns("", "back"), "label-column = 'back' does not hold whole numbers or words; allowed: kind, age, writer"),
    ],
)
def test_a_named_column_of_no_use_is_a_sentence(
    columns: Columns, sentence: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    use(monkeypatch, write_several(tmp_path))
    with pytest.raises(UserError, match=sentence):
        load_images("hf:me/both", columns=columns)


def test_data_without_columns_refuse_names_of_them():
    with pytest.raises(UserError, match=r"label-column: got 'kind', but digits has no columns, allowed: \.par"):
        load_images("digits", columns=Columns("", "kind"))
