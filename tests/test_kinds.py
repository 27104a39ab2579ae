from pathlib import Path

import pytest

from fedsieve.data import DATASETS
from fedsieve.data.image_sets import IMAGE_DATASETS
from fedsieve.kinds import GRAPH_NAMES, IMAGE_NAMES, kind_of


@pytest.mark.parametrize(
    ("dataset", "kind"),
    [
        *((name, "images") for name in IMAGE_NAMES),
        ("own.parquet", "images"),
        ("missing/OWN.Parquet", "images"),
        ("photos", "images"),
        ("~", "images"),
        ("cora", "graph"),
        ("digits-knn", "graph"),
        ("own.npz", "graph"),
        ("own.pt", "graph"),
        ("missing-folder", "graph"),
        ("~nobody-of-this-name/x", "graph"),
        ("", "graph"),
    ],
)
def test_the_kind_follows_from_the_name_or_path(
    dataset: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "photos").mkdir()
    (tmp_path / "cora").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kind_of(dataset) == kind


def test_the_names_are_those_that_can_be_loaded():
    assert tuple(IMAGE_DATASETS) == IMAGE_NAMES
    assert tuple(DATASETS) == GRAPH_NAMES
