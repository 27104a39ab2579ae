import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from platformdirs import user_cache_path
from torch_geometric.data import Data

from fedsieve.data.folders import cache_dir, data_dir, load_cached, raw_folder
from fedsieve.errors import UserError


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "file").write_text("content")
    return tmp_path / "raw"


def number(value: int) -> Data:
    return Data(x=torch.tensor([[float(value)]]))


def test_the_folders_follow_the_environment(monkeypatch: pytest.MonkeyPatch, folders: Path):
    assert (cache_dir(), data_dir()) == (folders / "cache", folders / "raw")
    monkeypatch.delenv("FEDSIEVE_DATA")
    assert data_dir() == folders / "cache" / "data"
    monkeypatch.delenv("FEDSIEVE_CACHE")
    assert cache_dir() == user_cache_path("fedsieve")
    assert data_dir() == user_cache_path("fedsieve") / "data"


def test_a_home_folder_is_meant_by_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FEDSIEVE_DATA", "~/raw")
    monkeypatch.setenv("FEDSIEVE_CACHE", "~")
    assert (cache_dir(), data_dir()) == (tmp_path, tmp_path / "raw")
    monkeypatch.setenv("FEDSIEVE_DATA", "~nobody-of-this-name/raw")
    with pytest.raises(UserError, match=r"^FEDSIEVE_DATA: got '~nobody-of-this-name/raw', whose home"):
        data_dir()


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a home folder: HOME is not set, and passwd has no entry."""
    for name in ("HOME", "FEDSIEVE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)


def test_raw_files_are_found_and_used_without_a_home_folder(
    homeless: None, raw: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    assert raw_folder("g", ".", ["file"], lambda _: pytest.fail("a download")) == raw
    assert load_cached("g", raw, ["file"], lambda _: number(1)).x.item() == 1
    assert "there is no folder for a cache: g is made again for each run; FEDSIEVE_CACHE names one" in caplog.text
    monkeypatch.delenv("FEDSIEVE_DATA")
    with pytest.raises(UserError, match=r"^FEDSIEVE_CACHE: is not set, and no home folder is known, allowed: a folder"):
        raw_folder("g", ".", ["file"], lambda _: raw)


def test_a_cache_of_the_users_own_that_cannot_be_written_is_done_without(
    raw: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("FEDSIEVE_CACHE")
    monkeypatch.setattr("fedsieve.data.folders.user_cache_path", lambda _: raw / "file" / "cache")
    assert load_cached("g", raw, ["file"], lambda _: number(1)).x.item() == 1
    assert "there is no folder for a cache" in caplog.text


def test_a_download_that_fails_leaves_nothing_behind(folders: Path):
    def fail(folder: Path) -> Path:
        (folder / "half").touch()
        raise OSError("no network")

    data_dir().mkdir()  # of the user's own, and stays
    with pytest.raises(UserError, match=r"^The data set 'g' is not in .*raw/pyg/g and could not be downloaded"):
        raw_folder("g", "pyg/g", ["file"], fail)
    assert list(data_dir().iterdir()) == []
    assert not (folders / "cache").exists()


def test_a_graph_is_built_once(raw: Path):
    load_cached("g", raw, ["file"], lambda _: number(1))
    assert load_cached("g", raw, ["file"], lambda _: number(2)).x.item() == 1


def test_two_at_a_time_do_not_disturb_each_other(raw: Path):
    together = threading.Barrier(2, timeout=30)

    def build(folder: Path) -> Data:
        (folder / "work").mkdir()  # fails if the two shared a folder
        together.wait()
        return number(7)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: load_cached("g", raw, ["file"], build), range(2)))
    assert [data.x.item() for data in results] == [7, 7]
    assert len(list((cache_dir() / "graphs").iterdir())) == 1


def test_a_damaged_cache_file_is_made_again(raw: Path, caplog: pytest.LogCaptureFixture):
    load_cached("g", raw, ["file"], lambda _: number(1))
    (file,) = (cache_dir() / "graphs").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert load_cached("g", raw, ["file"], lambda _: number(2)).x.item() == 2
    assert "is damaged" in caplog.text
    assert load_cached("g", raw, ["file"], lambda _: number(3)).x.item() == 2


def test_a_cache_that_cannot_be_written_is_named(raw: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FEDSIEVE_CACHE", str(raw / "file"))
    with pytest.raises(UserError, match=rf"FEDSIEVE_CACHE: the folder {raw / 'file'} cannot be written"):
        load_cached("g", raw, ["file"], lambda _: number(1))
