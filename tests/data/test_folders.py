import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from platformdirs import user_cache_path
from torch_geometric.data import Data

from fedsieve.data.folders import cache_dir, cached, data_dir
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


def test_a_graph_is_built_once(raw: Path):
    cached("g", raw, ["file"], lambda _: number(1))
    assert cached("g", raw, ["file"], lambda _: number(2)).x.item() == 1


def test_two_at_a_time_do_not_disturb_each_other(raw: Path):
    together = threading.Barrier(2, timeout=30)

    def build(folder: Path) -> Data:
        (folder / "work").mkdir()  # fails if the two shared a folder
        together.wait()
        return number(7)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: cached("g", raw, ["file"], build), range(2)))
    assert [data.x.item() for data in results] == [7, 7]
    assert len(list((cache_dir() / "graphs").iterdir())) == 1


def test_a_damaged_cache_file_is_made_again(raw: Path, caplog: pytest.LogCaptureFixture):
    cached("g", raw, ["file"], lambda _: number(1))
    (file,) = (cache_dir() / "graphs").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert cached("g", raw, ["file"], lambda _: number(2)).x.item() == 2
    assert "is damaged" in caplog.text
    assert cached("g", raw, ["file"], lambda _: number(3)).x.item() == 2


def test_a_cache_that_cannot_be_written_is_named(raw: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FEDSIEVE_CACHE", str(raw / "file"))
    with pytest.raises(UserError, match=rf"FEDSIEVE_CACHE: the folder {raw / 'file'} cannot be written"):
        cached("g", raw, ["file"], lambda _: number(1))
