import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from pydantic import Field

from fedsieve import plugins
from fedsieve.algorithms import (
    ENTRY_POINTS,
    Algorithm,
    AlgorithmConfig,
    algorithm_names,
    all_algorithm_names,
    load_algorithm,
)
from fedsieve.config import parse
from fedsieve.errors import UserError
from tests.helpers import fedsieve, forget_plugins, installed, rounds_of, simulated

PLUGIN = """
from pydantic import Field

from fedsieve.algorithms import Algorithm, AlgorithmConfig
from fedsieve.client.fed_avg import FedAvgTrainer
from fedsieve.strategies.fed_avg import FedAvg


class Config(AlgorithmConfig):
    step_size: float = Field(0.5, gt=0.0, description="how far to go")


class Halfway(FedAvg):
    def __init__(self, *, step_size=0.5, **flower):
        super().__init__(**flower)
        self.step_size = step_size

    def combine(self, replies):
        old = self.weights
        super().combine(replies)
        self.weights = {name: old[name] + (new - old[name]) * self.step_size for name, new in self.weights.items()}


ALGORITHM = Algorithm("go half the way", Config, Halfway, FedAvgTrainer)
"""


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch):
    """Replace what is installed."""

    def install(**values: str) -> None:
        found = [EntryPoint(name, value, ENTRY_POINTS) for name, value in values.items()]
        monkeypatch.setattr(plugins, "entry_points", lambda group: found if group == ENTRY_POINTS else [])
        forget_plugins()

    yield install
    monkeypatch.undo()
    forget_plugins()


def test_an_algorithm_that_is_not_registered_is_not_found_be_it_built_in(entries):
    entries(mine="fedsieve.protocols.fed_avg:ALGORITHM")
    assert algorithm_names() == ["mine"]
    assert parse({"algorithm": "mine"}).algorithm == "mine"
    with pytest.raises(UserError, match=r"^algorithm: got 'fed-pub', allowed: mine"):
        parse({"algorithm": "fed-pub"})


BROKEN = """
from dataclasses import dataclass
from pydantic import ConfigDict
from fedsieve.algorithms import Algorithm, AlgorithmConfig, AlgorithmFamily
from fedsieve.client.fed_avg import FedAvgTrainer
from fedsieve.contract import Trainer
from fedsieve.protocols.fed_avg import FedAvgConfig
from fedsieve.strategies.fed_avg import FedAvg
from fedsieve.strategy import FederatedStrategy

@dataclass
class NoSchema:
    step: float = 0.5

class Thawed(AlgorithmConfig):
    model_config = ConfigDict(frozen=False)

class Open(AlgorithmConfig):
    step_size: float

class Mute(FederatedStrategy):
    def begin(self, initial): ...
    def broadcast(self, client, acknowledged): ...
    def expected(self): ...

class Forgetful(Trainer):
    def __init__(self, run, config, model): ...
    def train(self, task, received, state): ...

NO_SCHEMA = Algorithm("", NoSchema, FedAvg, FedAvgTrainer)
THAWED = Algorithm("", Thawed, FedAvg, FedAvgTrainer)
OPEN = Algorithm("", Open, FedAvg, FedAvgTrainer)
SWAPPED = Algorithm("", FedAvgConfig, FedAvgTrainer, FedAvg)
MUTE = Algorithm("", FedAvgConfig, Mute, FedAvgTrainer)
NO_TRAINER = Algorithm("", FedAvgConfig, FedAvg, object)
FORGETFUL = Algorithm("", FedAvgConfig, FedAvg, Forgetful)
INSTANCE = Algorithm("", FedAvgConfig, FedAvg, FedAvgTrainer.__new__(FedAvgTrainer))
PICTURES = Algorithm("", FedAvgConfig, FedAvg, FedAvgTrainer, {"pictures": {"lr": 0.1}})
MEMBERLESS = AlgorithmFamily([], lambda member: NO_TRAINER)
SPELT = AlgorithmFamily("adam", lambda member: NO_TRAINER)
"""


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("no_such_module:ALGORITHM", "could not be imported: ModuleNotFoundError: No module named"),
        ("fedsieve.protocols.fed_avg:NONE", "could not be imported: AttributeError: "),
        ("fedsieve.strategies.fed_avg:FedAvg", "is not a fedsieve.algorithms.Algorithm"),
        ("broken_parts:NO_SCHEMA", "has the config .*NoSchema.*, allowed: a subclass of fedsieve.algorithms.Algor"),
        ("broken_parts:THAWED", "has a config, Thawed, that is not frozen"),
        ("broken_parts:OPEN", "has a key without a default, step-size"),
        ("broken_parts:SWAPPED", "has the strategy .*FedAvgTrainer.*, allowed: a subclass of "),
        ("broken_parts:MUTE", "has a strategy without combine"),
        ("broken_parts:NO_TRAINER", "has a trainer without train, personal_model"),
        ("broken_parts:FORGETFUL", "has a trainer without personal_model"),
        ("broken_parts:INSTANCE", "has the trainer .*FedAvgTrainer object.*, allowed: a class with the methods of "),
        ("broken_parts:PICTURES", "has defaults for the kind of data 'pictures', allowed: graph, images"),
        ("broken_parts:MEMBERLESS", r"is a family with the members \[\], allowed: names, one at least"),
        ("broken_parts:SPELT", "is a family with the members 'adam', allowed: names, one at least"),
    ],
)
def test_a_broken_plugin_is_one_sentence_with_its_package_and_stops_no_other(
    value: str, told: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    (tmp_path / "broken_parts.py").write_text(BROKEN)
    site = tmp_path / "site"
    site.mkdir()
    with installed(site, "breaking", {"broken": value, "sound": "fedsieve.protocols.local:ALGORITHM"}, tmp_path):
        told = rf"^algorithm: 'broken' \({value} of breaking 1\.0\) {told}"
        with pytest.raises(UserError, match=told) as caught:
            load_algorithm("broken")
        assert "\n" not in str(caught.value)
        assert fedsieve("list", "algorithms") == 0
        lines = dict(line.split(maxsplit=1) for line in capfd.readouterr().out.splitlines())
        assert set(lines) == {*all_algorithm_names()} >= {"fed-pub", "broken", "sound"}
        assert lines["broken"] == f"cannot be used: {caught.value}"
        assert lines["sound"] == f"{lines['local']} [breaking 1.0]"
        assert parse({"algorithm": "sound"}).algorithm == "sound"
        assert fedsieve("run", "--algorithm", "broken", "--out", tmp_path / "run") == 2
        assert capfd.readouterr().err == f"fedsieve: {caught.value}\n"


def test_a_name_that_two_packages_register_is_neithers(tmp_path: Path):
    with installed(tmp_path, "taking", {"fed-avg": "fedsieve.protocols.local:ALGORITHM"}):
        with pytest.raises(
            UserError, match=r"^algorithm: 'fed-avg' is registered by .* and .*; allowed: one of th"
        ) as told:
            load_algorithm("fed-avg")
        assert "taking 1.0" in str(told.value)
        assert "fedsieve 0" in str(told.value)


def test_a_plugin_that_is_merely_installed_runs_with_keys_of_its_own(tmp_path: Path, graph_file: Path):
    (tmp_path / "halfway.py").write_text(PLUGIN)
    site = tmp_path / "site"

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fedsieve", "run", "--dataset", str(graph_file), "--num-clients", "2"]
        command += ["--num-rounds", "2", "-s", "hidden-dim=4", "--quiet", "--out", str(tmp_path / name), *arguments]
        with installed(site / name, "halfway", {"half-way": "halfway:ALGORITHM"}, tmp_path):
            return subprocess.run(command, check=False, capture_output=True, text=True)

    done = run("one", "--algorithm", "half-way", "-s", "half-way.step-size=1.0")
    assert done.returncode == 0, done.stderr
    fed_avg = simulated(
        tmp_path / "two", algorithm="fed-avg", dataset=str(graph_file), num_clients=2, num_rounds=2, hidden_dim=4
    )
    for ours, theirs in zip(rounds_of(tmp_path / "one"), rounds_of(fed_avg), strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)
    refused = run("three", "--algorithm", "half-way", "-s", "half-way.step-size=0")
    assert refused.returncode == 2
    assert "half-way.step-size: got 0, allowed: a number, above 0" in refused.stderr


def test_a_bound_that_our_words_do_not_cover_is_told_in_pydantics(monkeypatch: pytest.MonkeyPatch):
    class Even(AlgorithmConfig):
        steps: int = Field(2, multiple_of=2, description="")

    def load(name: str) -> Algorithm:
        return replace(load_algorithm("fed-avg"), config=Even)

    monkeypatch.setattr("fedsieve.config.load_algorithm", load)
    with pytest.raises(UserError, match=r"^fed-avg.steps: got 3, allowed: a multiple of 2\.$"):
        parse({"algorithm": "fed-avg", "fed-avg.steps": 3})
