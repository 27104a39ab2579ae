"""The event files say what the run's own records say."""

import csv
import json
import sys
from pathlib import Path
from statistics import fmean

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2 as hparams_pb2

from fedsieve.simulations import resume
from tests.helpers import fedsieve, rounds_of, simulated

TAGS = {
    "accuracy/validation": "val_accuracy",
    "accuracy/test": "test_accuracy",
    "accuracy/test as received": "test_accuracy_received",
    "loss/training": "train_loss",
    "bytes/up": "uplink_bytes",
    "bytes/down": "downlink_bytes",
}
"""Tags, and the same figure in a line of `rounds.jsonl`."""

KEYS = {"num-clients": 3, "num-rounds": 4, "hidden-dim": 4, "fraction-train": 0.7, "fed-pub.prox": 5.0, "lr": 0.05}


def assert_told(folder: Path, rounds: int) -> EventAccumulator:
    """Assert that the event files hold each round once, with the figures of the run's records."""
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    told = rounds_of(folder)
    assert len(told) == rounds
    for tag, name in TAGS.items():
        points = [(event.step, event.value) for event in events.Scalars(tag)]
        assert points == [(line["round"], pytest.approx(line[name], rel=1e-6)) for line in told], tag
    seconds = [json.loads(line)["seconds"] for line in (folder / "timings.jsonl").read_text().splitlines()]
    assert [event.value for event in events.Scalars("seconds")] == pytest.approx(seconds[:rounds], abs=1e-5)
    assert [event.value for event in events.Scalars("clients/usable")] == [len(line["participants"]) for line in told]
    times = [event.wall_time for event in events.Scalars("seconds")]
    assert times == sorted(times)
    return events


def test_event_files_hold_the_rounds_of_the_runs_records(graph_file: Path, tmp_path: Path):
    folder = simulated(tmp_path / "run", KEYS, dataset=str(graph_file), tensorboard=True)
    events = assert_told(folder, rounds=4)
    with (folder / "clients.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["status"] == "ok"]
    for event in events.Scalars("mask sparsity"):
        own = [float(row["mask_sparsity"]) for row in rows if int(row["round"]) == event.step]
        assert event.value == pytest.approx(fmean(own), rel=1e-6)
    assert event.step == 4
    assert event.value > 0
    settings = hparams_pb2.HParamsPluginData.FromString(
        events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    ).session_start_info.hparams
    assert settings["num-rounds"].number_value == 4
    assert settings["algorithm"].string_value == "fed-pub"


def test_a_run_that_goes_on_has_no_point_twice(graph_file: Path, tmp_path: Path):
    folder = simulated(tmp_path / "run", KEYS, dataset=str(graph_file), tensorboard=True)
    config = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(config.replace("num-rounds = 4", "num-rounds = 6"))
    assert resume(folder, quiet=True)
    assert_told(folder, rounds=6)


def test_a_run_that_goes_on_may_begin_to_write_event_files(graph_file: Path, tmp_path: Path):
    folder = simulated(tmp_path / "run", KEYS, dataset=str(graph_file))
    assert not (folder / "tensorboard").exists()
    config = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(config.replace("num-rounds = 4", "num-rounds = 5"))
    assert fedsieve("resume", folder, "--tensorboard", "--quiet") == 0
    assert_told(folder, rounds=5)


def test_a_missing_package_is_told_before_the_folder_is_made(
    graph_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    out = tmp_path / "run"
    assert fedsieve("run", "--dataset", graph_file, "--num-clients", 3, "--tensorboard", "--out", out) == 2
    assert capfd.readouterr().err == (
        "fedsieve: tensorboard: got true, but the package tensorboard is not installed; allowed: with it, by "
        "pip install 'fedsieve[tensorboard]', or false.\n"
    )
    assert not out.exists()
