import json
from pathlib import Path

import pytest

from fedsieve.errors import UserError
from fedsieve.files import Extent
from fedsieve.runs.checkpoint_folder import Checkpoint, CheckpointFolder
from fedsieve.runs.layout import server_file, state_file


def a_checkpoint(folder: CheckpointFolder, round_: int, *names: str) -> Checkpoint:
    """Return a checkpoint that names files that are there."""
    return Checkpoint(
        round=round_,
        finished=False,
        token="0123456789abcdef",
        config={"lr": 1e-06, "out": "ü"},
        usage={"cpu_seconds": 1.25},
        records={"rounds.jsonl": Extent(12, 34)},
        server_clients={0: round_},
        states={3: round_},
        files=folder.extents(names),
    )


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    return CheckpointFolder(tmp_path / "checkpoint")


def names(folder: CheckpointFolder) -> list[str]:
    return sorted(path.name for path in folder.path.iterdir()) if folder.path.exists() else []


def add(folder: CheckpointFolder, round_: int, *others: str) -> None:
    folder.put(server_file(round_), f"server {round_}".encode)
    folder.add(a_checkpoint(folder, round_, server_file(round_), *others))


def opened(folder: CheckpointFolder) -> CheckpointFolder:
    """Return the folder as another process finds it."""
    again = CheckpointFolder(folder.path)
    again.open()
    return again


def test_a_manifest_comes_back_as_it_was(folder: CheckpointFolder):
    folder.put("client-3-2.safetensors", lambda: b"abc")
    checkpoint = a_checkpoint(folder, 2, "client-3-2.safetensors")
    assert checkpoint.files == {"client-3-2.safetensors": Extent(3, 0x352441C2)}
    assert Checkpoint.of(checkpoint.json()) == checkpoint


def test_any_change_of_a_manifest_is_found(folder: CheckpointFolder):
    text = a_checkpoint(folder, 2).json()
    for old, new in (('"round": 2', '"round": 3'), ("1.25", "1.5"), ("12, 34", "12, 35"), ("lr", "rl")):
        with pytest.raises(ValueError, match="checksum does not match"):
            Checkpoint.of(text.replace(old, new))
    for length in range(0, len(text) - 2, 7):
        with pytest.raises(ValueError, match=r"."):
            Checkpoint.of(text[:length])


def test_a_manifest_of_another_format_is_told_as_such(folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr("fedsieve.runs.checkpoint_folder.FORMAT", 99)
        text = a_checkpoint(folder, 2).json()
    with pytest.raises(ValueError, match="it has format 99 where 2 is expected"):
        Checkpoint.of(text)


def test_a_file_is_written_once(folder: CheckpointFolder):
    made: list[int] = []

    def make() -> bytes:
        made.append(1)
        return b"x"

    folder.put("client-0-1.safetensors", make)
    folder.put("client-0-1.safetensors", make)
    add(folder, 1, "client-0-1.safetensors")
    opened(folder).put("client-0-1.safetensors", make)
    assert made == [1]


def test_the_last_two_checkpoints_stay_with_their_files_and_those_of_later_rounds(folder: CheckpointFolder):
    for client, round_ in ((0, 1), (1, 1), (0, 3), (0, 9)):
        folder.put(state_file(client, round_), lambda: b"x")
    add(folder, 1, state_file(0, 1), state_file(1, 1))
    add(folder, 2, state_file(0, 1), state_file(1, 1))
    add(folder, 3, state_file(0, 3), state_file(1, 1))
    kept = ["client-0-1", "client-0-3", "client-0-9", "client-1-1", "server-2", "server-3"]
    files = [f"{name}.safetensors" for name in kept] + ["manifest-2.json", "manifest-3.json"]
    assert names(folder) == sorted(files)
    add(folder, 4, state_file(0, 3))
    assert "client-0-1.safetensors" not in names(folder)
    assert "client-1-1.safetensors" in names(folder), "the checkpoint before names it"


def test_a_file_that_a_checkpoint_names_is_not_discarded(folder: CheckpointFolder):
    for client in (0, 1, 2):
        folder.put(state_file(client, 1), lambda: b"x")
    add(folder, 1, state_file(0, 1))
    for client in (1, 2):
        folder.put(state_file(client, 1), lambda: b"x")
    folder.reserve([state_file(1, 1)])
    for client in (0, 1, 2):
        folder.discard(state_file(client, 1))
    assert [state_file(client, 1) in folder for client in (0, 1, 2)] == [True, True, False]
    assert state_file(2, 1) not in names(folder)


def test_what_a_killed_run_has_left_over_is_removed_when_it_goes_on_and_a_users_file_is_not(folder: CheckpointFolder):
    for round_ in (1, 2):
        add(folder, round_)
    left = [
        "client-0-3.safetensors",
        ".server-3.safetensors.partial",
        ".manifest-3.json.partial",
        "server-3.safetensors",
    ]
    for name in (*left, "mine.txt"):
        (folder.path / name).write_bytes(b"x")
    again = opened(folder)
    assert again.newest is not None
    assert again.newest.round == 2
    kept = ["manifest-1.json", "manifest-2.json", "server-1.safetensors", "server-2.safetensors"]
    assert names(folder) == [*kept[:2], "mine.txt", *kept[2:]]
    add(again, 3)
    add(again, 4)
    assert names(folder) == [
        "manifest-3.json", "manifest-4.json", "mine.txt", "server-3.safetensors", "server-4.safetensors",
    ]  # fmt: skip


def test_a_new_folder_has_no_checkpoint(folder: CheckpointFolder):
    folder.open()
    assert folder.newest is None
    assert folder.records == {}


def test_a_folder_that_cannot_be_written_is_one_sentence_and_the_checkpoint_stays(
    folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
):
    add(folder, 1)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("fedsieve.files.os.fsync", full)
        told = r"server-2.safetensors: cannot be written: No space left on device\.$"
        with pytest.raises(UserError, match=told):
            add(folder, 2)
    assert names(folder) == ["manifest-1.json", "server-1.safetensors"]
    assert json.loads((folder.path / "manifest-1.json").read_text())["manifest"]["round"] == 1
    add(folder, 2)
    assert opened(folder).newest == a_checkpoint(folder, 2, server_file(2))
