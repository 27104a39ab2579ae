import json
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fedsieve import plugins
from fedsieve.config import RunConfig
from fedsieve.errors import UserError
from fedsieve.keys import TRACKERS
from fedsieve.runs.rounds import Round
from fedsieve.simulations import resume
from tests.helpers import config, fedsieve, forget_plugins, rounds_of, simulated

KEYS = {"num-clients": 3, "num-rounds": 2, "hidden-dim": 4, "algorithm": "fed-avg"}


class Noting:
    """Notes what it is told."""

    told: ClassVar[list[Any]] = []

    def __init__(self, run: RunConfig, folder: Path, past: Sequence[Round]) -> None:
        self.told.append([round_.number for round_ in past])

    def round_finished(self, round_: Round) -> None:
        self.told.append(round_.number)

    def close(self, ended: str) -> None:
        self.told.append(ended)


class Breaking(Noting):
    def round_finished(self, round_: Round) -> None:
        raise ConnectionError("no\nserver.")


class Unmade(Noting):
    def __init__(self, *_: object) -> None:
        raise OSError("no disk")


class Absent(Noting):
    requires = "no_such_package"


NO_CLASS = 3


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    there = plugins.entry_points
    names = ("Noting", "Breaking", "Unmade", "Absent", "NO_CLASS")

    def entry_points(group: str) -> list[EntryPoint]:
        ours = [EntryPoint(name.lower(), f"{__name__}:{name}", group) for name in names]
        return [*there(group=group), *(ours if group == TRACKERS else [])]

    monkeypatch.setattr(plugins, "entry_points", entry_points)
    monkeypatch.setattr(Noting, "told", [])
    forget_plugins()
    yield
    monkeypatch.undo()
    forget_plugins()


def more_rounds(folder: Path, number: int) -> None:
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(text.replace(f"num-rounds = {number - 1}", f"num-rounds = {number}"))


def test_a_tracker_hears_of_all_rounds_the_end_and_what_is_behind_a_resumed_run(graph_file: Path, tmp_path: Path):
    folder = simulated(tmp_path / "run", KEYS, dataset=str(graph_file), trackers="noting")
    more_rounds(folder, 3)
    assert resume(folder, quiet=True)
    assert Noting.told == [[], 1, 2, "finished", [1, 2], 3, "finished"]


def test_a_tracker_that_fails_is_warned_of_once_and_the_run_ends_well(
    graph_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder = simulated(tmp_path / "run", KEYS, dataset=str(graph_file), trackers="breaking, unmade,noting")
    assert len(rounds_of(folder)) == 2
    assert [record.getMessage() for record in caplog.records if "tracker" in record.getMessage()] == [
        "the tracker unmade has failed (OSError: no disk); the run continues without it",
        "the tracker breaking has failed (ConnectionError: no server); the run continues without it",
    ]
    assert Noting.told == [[], [], 1, 2, "finished"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("mlfow", r"^trackers: got 'mlfow' \(did you mean mlflow\?\), allowed: .*mlflow, .*tensorboard, .*wandb\.$"),
        ("absent", r"^trackers: got 'absent', but the package no_such_package is not installed; allowed: with it"),
        ("no_class", r"^trackers: 'no_class' .* is not a class with the methods round_finished and close\.$"),
    ],
)
def test_a_tracker_that_cannot_be_is_one_sentence(name: str, sentence: str, graph_file: Path, tmp_path: Path):
    with pytest.raises(UserError, match=sentence):
        simulated(tmp_path / "run", KEYS, dataset=str(graph_file), trackers=name)
    assert not (tmp_path / "run").exists()


def test_tensorboard_is_named_by_its_key_or_among_the_others():
    assert config(trackers="wandb, mlflow,wandb", tensorboard=True).tracker_names == ["tensorboard", "wandb", "mlflow"]
    assert config(trackers="tensorboard", tensorboard=True).tracker_names == ["tensorboard"]
    assert config().tracker_names == []


def test_mlflow_has_each_round_once_also_of_a_run_that_was_resumed(
    graph_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'store.db'}")
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", None, raising=False)
    folder = simulated(tmp_path / "run", KEYS, dataset=str(graph_file), trackers="mlflow")
    more_rounds(folder, 3)
    assert resume(folder, quiet=True)
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("fedsieve").experiment_id])
    assert run.info.run_id == json.loads((folder / "trackers.json").read_text())["mlflow"]
    points = client.get_metric_history(run.info.run_id, "accuracy/test")
    lines = rounds_of(folder)
    assert [(point.step, point.value) for point in points] == [
        (line["round"], pytest.approx(line["test_accuracy"])) for line in lines
    ]
    assert (run.info.status, run.data.tags["ended"], run.info.run_name) == ("FINISHED", "finished", "run")
    assert run.data.params["algorithm"] == "fed-avg"
    assert mlflow.active_run() is None


def test_wandb_writes_an_offline_run_and_leaves_the_callers_own_alone(
    graph_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = simulated(tmp_path / "run", KEYS, dataset=str(graph_file), trackers="wandb")
    more_rounds(folder, 3)
    assert resume(folder, quiet=True)
    assert not [record for record in caplog.records if "tracker" in record.getMessage()]
    name = json.loads((folder / "trackers.json").read_text())["wandb"]
    written = list((folder / "wandb").glob(f"offline-run-*-{name}/run-{name}.wandb"))
    assert len(written) == 2
    assert any(b"accuracy/test" in path.read_bytes() for path in written)
    assert wandb.run is None


def test_resume_takes_trackers_and_list_knows_them(
    graph_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = simulated(tmp_path / "run", KEYS, dataset=str(graph_file))
    more_rounds(folder, 3)
    assert fedsieve("resume", folder, "--trackers", "noting", "--quiet") == 0
    assert Noting.told == [[1, 2], 3, "finished"]
    assert fedsieve("list", "trackers") == 0
    assert "noting       Notes what it is told. [an unknown package]\n" in capsys.readouterr().out
