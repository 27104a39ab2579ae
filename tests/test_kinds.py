from pathlib import Path

import pytest

from fedsieve.catalogue import IMAGES
from fedsieve.kinds import tell_kind


@pytest.mark.parametrize(
    ("dataset", "kind"),
    [
        *((name, "images") for name in IMAGES),
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
    assert tell_kind(dataset) == kind
