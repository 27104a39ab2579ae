"""A disk that is really full, and one that is read-only: tmpfs mounts of a few MB, which takes root."""

import gc
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedsieve.config import parse, read
from tests.helpers import assert_same_run, fedsieve, simulated, write_graph

ROUNDS = 6


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", folder], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    gc.collect()  # the checkpoint that a run went on from is mapped into memory
    subprocess.run(["umount", folder], check=True)


def keys(tmp_path: Path, rounds: int) -> dict[str, object]:
    graph = tmp_path / "graph.npz"
    if not graph.exists():
        write_graph(graph)
    return {"dataset": str(graph), "num-clients": 3, "hidden-dim": 16, "num-rounds": rounds}


def go_on(folder: Path) -> None:
    """Ask for more rounds."""
    path = folder / "config.toml"
    path.write_text(parse(read(path) | {"num-rounds": ROUNDS}).toml())


def test_a_full_disk_is_one_sentence_and_the_last_good_checkpoint_survives(
    disk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    expected = simulated(tmp_path / "expected", keys(tmp_path, ROUNDS))
    run = simulated(disk / "run", keys(tmp_path, 3))
    go_on(run)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - 20_000))
    capfd.readouterr()
    assert fedsieve("resume", run, "--quiet") != 0
    told = capfd.readouterr().err
    assert "No space left on device" in told
    assert "Traceback" not in told
    assert told.count("\n") <= 2, told
    ballast.unlink()
    assert fedsieve("resume", run, "--quiet") == 0
    assert_same_run(run, expected)


def test_a_read_only_folder_is_one_sentence_and_nothing_is_lost(
    disk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    expected = simulated(tmp_path / "expected", keys(tmp_path, ROUNDS))
    run = simulated(disk / "run", keys(tmp_path, 3))
    go_on(run)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    capfd.readouterr()
    for words in (("resume", run), ("run", "--out", disk / "other"), ("run", "--dataset", "digits", "--out", run)):
        assert fedsieve(*words, "--quiet") != 0
    told = capfd.readouterr().err
    assert told.count("Read-only file system") >= 2
    assert "Traceback" not in told
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    assert fedsieve("resume", run, "--quiet") == 0
    assert_same_run(run, expected)
