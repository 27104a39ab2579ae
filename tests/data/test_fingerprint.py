import os
from pathlib import Path

import pytest

from fedsieve.data.fingerprint import fingerprint
from fedsieve.errors import UserError
from fedsieve.runs.data_record import check_same_data, fingerprint_of, format_fingerprint
from fedsieve.runs.layout import RunLayout


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("images/train/a/1.png", "images/train/b/1.png", "images/test/a/1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(name)
    return tmp_path / "images"


@pytest.fixture
def run(tmp_path: Path, images: Path) -> Path:
    (tmp_path / "run").mkdir()
    RunLayout(tmp_path / "run").data.write_text(format_fingerprint(fingerprint(str(images))))
    return tmp_path / "run"


def test_data_are_the_same_wherever_they_lie(images: Path, tmp_path: Path):
    before = fingerprint(str(images))
    images.rename(tmp_path / "moved")
    images.symlink_to("moved")
    assert fingerprint(str(images)) == fingerprint(str(tmp_path / "moved")) == before
    (tmp_path / "a.npz").write_bytes(b"graph")
    (tmp_path / "b.npz").symlink_to("a.npz")
    assert fingerprint(str(tmp_path / "a.npz")) == fingerprint(str(tmp_path / "b.npz"))


def test_a_published_set_has_none(run: Path):
    assert fingerprint("cora") == fingerprint("digits") == {}
    assert fingerprint_of(run.parent) is None
    check_same_data(run.parent, "cora", fingerprint)


def test_what_is_not_used_does_not_count(images: Path, run: Path):
    (images / "train" / "a" / "notes.txt").touch()
    (images / "README").touch()
    check_same_data(run, str(images), fingerprint)


def test_each_change_is_told_by_the_name_of_its_file(images: Path, run: Path):
    file = images / "train" / "a" / "1.png"
    before = file.read_text()
    times = file.stat().st_mtime_ns
    file.write_text(before[::-1])
    os.utime(file, ns=(times, times))
    with pytest.raises(UserError, match=rf"^{file}: has changed since the run in {run} began, allowed: the data as"):
        check_same_data(run, str(images), fingerprint)
    file.unlink()
    with pytest.raises(UserError, match=rf"^{file}: is gone since"):
        check_same_data(run, str(images), fingerprint)
    file.write_text(before)
    check_same_data(run, str(images), fingerprint)
    (images / "train" / "c").mkdir()
    with pytest.raises(UserError, match=rf"^{images}/train/c: is new since"):
        check_same_data(run, str(images), fingerprint)


def test_data_that_are_gone_and_a_record_that_is_broken_are_one_sentence(images: Path, run: Path):
    with pytest.raises(UserError, match=r"gone.npz: cannot be read: No such file"):
        check_same_data(run, str(images / "gone.npz"), fingerprint)
    (RunLayout(run).data).write_text("{")
    with pytest.raises(UserError, match=r"data.json: is not what the run has written"):
        check_same_data(run, str(images), fingerprint)
