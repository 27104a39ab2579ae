import csv
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from fedsieve.config import parse, read
from fedsieve.errors import UserError
from fedsieve.runs.folder import RunFolder, check_folder, folder_of, make_portable
from fedsieve.runs.reading import read_summary
from fedsieve.runs.records import CLIENT_COLUMNS
from tests.helpers import config, rounds_of
from tests.runs.test_history import a_round, answered


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(config(out=str(tmp_path / "run")))


def rows(folder: RunFolder) -> list[dict[str, str]]:
    with (folder.path / "clients.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_configuration_can_be_run_again(tmp_path: Path):
    keys = {
        "algorithm": "fed-prox",
        "fed-prox.mu": 0.25,
        "num-rounds": 7,
        "lr": 0.1,
        "dataset": 'a "quoted" \\ path.npz',
    }
    RunFolder(parse(keys | {"out": str(tmp_path / "run")}))
    again = parse(read(tmp_path / "run" / "config.toml"))
    assert again == parse(keys)
    assert tomllib.loads((tmp_path / "run" / "config.toml").read_text())["seed"] == 42


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path: Path):
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(UserError, match=f"^out: got {tmp_path}, which is not empty"):
        RunFolder(config(out=str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_in_which_a_run_was_killed_at_once_can_be_run_in(tmp_path: Path):
    (tmp_path / ".config.toml.partial").write_text("algo")
    RunFolder(config(out=str(tmp_path)))
    assert ".config.toml.partial" not in [path.name for path in tmp_path.iterdir()]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^out: .*file/run cannot be written"):
        RunFolder(config(out=str(tmp_path / "file" / "run")))


def test_what_cannot_be_written_is_told_and_nothing_is_made(tmp_path: Path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file/run", "file/a/b", "link", "link/run"):
        with pytest.raises(UserError, match=rf"^out: {tmp_path / name} cannot be written: {tmp_path}/(file|link): "):
            check_folder(tmp_path / name)
    with pytest.raises(UserError, match=r"^out: /proc/run cannot be written: /proc: "):
        check_folder(Path("/proc/run"))
    check_folder(tmp_path / "a" / "b")
    with pytest.raises(UserError, match=r"^out: got ~nobody-here/x, where ~nobody-here is nobody's home folder"):
        check_folder(Path("~nobody-here/x"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_data_behind_a_link_are_named_by_the_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blob").touch()
    (tmp_path / "own.npz").symlink_to("blob")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("own.npz", "~/own.npz", str(tmp_path / "own.npz")):
        assert make_portable(config(dataset=name)).dataset == str(tmp_path / "own.npz")
    (tmp_path / "cora").mkdir()
    assert make_portable(config(dataset="cora")).dataset == "cora"


def test_a_round_is_a_line_with_its_means(folder: RunFolder):
    means = {"train-loss": 0.7, "val-accuracy": 0.375, "test-accuracy": 0.5, "received-test-accuracy": 0.125}
    folder.round_finished(a_round(1, answered(0, 0.5, 0.25), answered(1, 0.25, 0.75), means=means))
    folder.round_finished(a_round(2, answered(0, 1.0, 0.5), rejected={1: "no reply in time"}, means={"train-loss": 1}))
    first, second = rounds_of(folder.path)
    assert first == {
        "round": 1,
        "participants": [0, 1],
        "rejected": {},
        "train_loss": 0.7,
        "val_accuracy": 0.375,
        "test_accuracy": 0.5,
        "test_accuracy_received": 0.125,
        "uplink_bytes": 201,
        "downlink_bytes": 160,
    }
    assert second == first | {
        "round": 2,
        "rejected": {"1": "no reply in time"},
        "train_loss": 1,
        "val_accuracy": None,
        "test_accuracy": None,
        "test_accuracy_received": None,
        "uplink_bytes": 100,
    }


def test_times_have_a_file_of_their_own(folder: RunFolder):
    folder.round_finished(a_round(1, answered(0, 0.5, 0.5)))
    lines = [json.loads(line) for line in (folder.path / "timings.jsonl").read_text().splitlines()]
    assert [(line["round"], line["seconds"]) for line in lines] == [(1, 1.0)]
    assert not any("second" in key or "time" in key for key in rounds_of(folder.path)[0])
    assert not any("second" in key or "time" in key for key in CLIENT_COLUMNS)


def test_each_participant_has_a_row_a_round(folder: RunFolder):
    folder.round_finished(a_round(1, answered(2, 0.5, 0.25, mask_sparsity=0.5), rejected={1: 'failed: a, "b"'}))
    folder.round_finished(a_round(2, answered(0, 0.5, 0.5), for_metric_only=True))
    one, two, zero = rows(folder)
    assert set(one) == set(CLIENT_COLUMNS)
    assert (one["round"], one["client"], one["status"]) == ("1", "1", 'rejected: failed: a, "b"')
    assert (one["test_accuracy"], one["downlink_bytes"], one["uplink_bytes"]) == ("", "80", "")
    assert (two["client"], two["status"], two["val_accuracy"], two["test_accuracy"]) == ("2", "ok", "0.5", "0.25")
    assert (two["mask_sparsity"], two["num_examples"], two["uplink_bytes"]) == ("0.5", "4", "102")
    assert (two["val_accuracy_received"], two["test_accuracy_received"]) == ("0.25", "0.125")
    assert (zero["round"], zero["client"], zero["status"], zero["mask_sparsity"]) == ("2", "0", "metric-only", "")


def test_a_round_for_the_metric_only_is_no_line_among_the_rounds(folder: RunFolder):
    folder.round_finished(a_round(1, answered(0, 0.5, 0.5)))
    folder.round_finished(a_round(2, answered(1, 0.5, 0.5), for_metric_only=True))
    assert [line["round"] for line in rounds_of(folder.path)] == [1]


def test_lines_are_on_disk_when_the_round_is_over(folder: RunFolder):
    for number in (1, 2, 3):
        folder.round_finished(a_round(number, answered(0, 0.5, 0.5)))
        assert len(rounds_of(folder.path)) == number


def test_arrays_are_safetensors_with_their_metadata(folder: RunFolder):
    arrays = {"w": np.arange(6, dtype=np.float32).reshape(2, 3).T, "n": np.array([3])}
    folder.write_model(0, arrays, {"round": 4})
    with safe_open(folder.path / "model" / "client-0.safetensors", "numpy") as file:
        assert json.loads(file.metadata()["fedsieve"]) == {"round": 4}
        assert file.get_tensor("w").tolist() == [[0, 3], [1, 4], [2, 5]]
        assert file.get_tensor("n").tolist() == [3]
    assert [path.name for path in (folder.path / "model").iterdir()] == ["client-0.safetensors"]


def test_a_summary_is_read_back_and_a_folder_without_one_is_refused(folder: RunFolder, tmp_path: Path):
    summary = {"algorithm": "local", "dataset": "cora", "test_accuracy_per_client": None}
    folder.write_summary(summary)
    assert read_summary(folder.path) == summary
    with pytest.raises(UserError, match="holds no readable summary"):
        read_summary(tmp_path)
    for broken in ("{", "{}", "[]", "null"):
        (tmp_path / "summary.json").write_text(broken)
        with pytest.raises(UserError, match="holds no readable summary"):
            read_summary(tmp_path)


def test_a_default_folder_is_one_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    run = config(dataset="graphs/mine.npz")
    folders = []
    for _ in range(3):
        folders.append(folder_of(run))
        folders[-1].mkdir(parents=True)
    assert len(set(folders)) == 3
    assert all(folder.parts[0] == "runs" and folder.name.startswith("fed-pub-mine-") for folder in folders)


def test_a_run_that_starts_from_nothing_leaves_no_results_of_what_it_was(folder: RunFolder):
    folder.write_summary({"num_rounds": 1})
    folder.round_finished(a_round(1, rejected={0: "no reply in time"}))
    RunFolder(config(out=str(folder.path)), records={})
    assert not (folder.path / "summary.json").exists()
    assert rounds_of(folder.path) == []
