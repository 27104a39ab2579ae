from pathlib import Path

import pytest

from fedsieve.data.given import lie_apart, list_clients
from fedsieve.errors import UserError


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_clients_are_in_natural_order_of_their_names_and_other_files_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    make(tmp_path, "site-10.npz", "site-2.npz", "Site-1.pt", "README.md", ".hidden.npz")
    assert [client.name for client in list_clients(tmp_path)] == ["Site-1", "site-2", "site-10"]
    assert caplog.messages == [f"{tmp_path}: 1 entries ignored, README.md first"]


def test_files_of_one_stem_keep_their_endings(tmp_path: Path):
    make(tmp_path, "a.npz", "a.pt", "b.npz")
    assert [client.name for client in list_clients(tmp_path)] == ["a.npz", "a.pt", "b.npz"]


def test_a_folder_is_a_client_and_so_is_a_parquet_file(tmp_path: Path):
    make(tmp_path, "a/cat/1.png", "b.parquet", "site.two/cat/1.png")
    assert [client.name for client in list_clients(tmp_path)] == ["a", "b", "site.two"]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ((), "holds no client's data; with partition = 'given'"),
        (("a.csv",), "holds no client's data"),
        (("a.npz", "b.parquet"), r"holds a graph, a.npz, and images, b.parquet; allowed are clients of one kind"),
        (("a.npz", "b/cat/1.png"), "holds a graph, a.npz, and images, b;"),
    ],
)
def test_what_is_no_folder_of_clients_is_refused(names: tuple[str, ...], sentence: str, tmp_path: Path):
    with pytest.raises(UserError, match=sentence):
        list_clients(make(tmp_path, *names))


@pytest.mark.parametrize(
    ("names", "apart"),
    [
        (("a.npz", "b.npz"), True),
        (("a.parquet", "b.parquet"), True),
        (("a/cat/1.png", "b/cat/1.png"), True),
        (("train.parquet", "test.parquet"), False),
        (("train-00000-of-00002.parquet", "train-00001-of-00002.parquet"), False),
        (("train/cat/1.png", "test/cat/1.png"), False),
    ],
)
def test_the_splits_of_one_set_are_no_clients(names: tuple[str, ...], apart: bool, tmp_path: Path):
    assert lie_apart(str(make(tmp_path, *names))) is apart
    assert not lie_apart(str(tmp_path / names[0]))
