import os
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from pydantic import Field

from fedsieve import plugins
from fedsieve.algorithm import ENTRY_POINTS, Algorithm, AlgorithmConfig, algorithm_names, load_algorithm
from fedsieve.config import parse
from fedsieve.errors import UserError
from tests.helpers import rounds_of, simulated

PLUGIN = """
import numpy as np
from pydantic import Field

from fedsieve.algorithm import Algorithm, AlgorithmConfig
from fedsieve.client.fed_avg import FedAvgTrainer
from fedsieve.strategies.fed_avg import FedAvg


class Config(AlgorithmConfig):
    step_size: float = Field(0.5, gt=0.0, description="how far to go")


class Halfway(FedAvg):
    def combine(self, replies):
        old = self.weights
        super().combine(replies)
        step = np.float32(self.settings.step_size)
        self.weights = {name: old[name] + (new - old[name]) * step for name, new in self.weights.items()}


ALGORITHM = Algorithm("go half the way", Config, Halfway, FedAvgTrainer)
"""


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch):
    """Replace what is installed."""

    def install(**values: str) -> None:
        found = [EntryPoint(name, value, ENTRY_POINTS) for name, value in values.items()]
        monkeypatch.setattr(plugins, "entry_points", lambda group: found if group == ENTRY_POINTS else [])
        forget()

    def forget() -> None:
        plugins.entries.cache_clear()
        plugins.load.cache_clear()

    yield install
    monkeypatch.undo()
    forget()


def test_an_algorithm_that_is_not_registered_is_not_found_be_it_built_in(entries):
    entries(mine="fedsieve.strategies.fed_avg:ALGORITHM")
    assert algorithm_names() == ["mine"]
    assert parse({"algorithm": "mine"}).algorithm == "mine"
    with pytest.raises(UserError, match=r"^algorithm: got 'fed-pub', allowed: mine"):
        parse({"algorithm": "fed-pub"})


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("no_such_module:ALGORITHM", "could not be imported: No module named"),
        ("fedsieve.strategies.fed_avg:NONE", "could not be imported"),
        ("fedsieve.strategies.fed_avg:FedAvg", "is not a fedsieve.algorithm.Algorithm"),
    ],
)
def test_a_broken_plugin_is_one_sentence(entries, value: str, told: str):
    entries(broken=value)
    with pytest.raises(UserError, match=told) as caught:
        load_algorithm("broken")
    assert "\n" not in str(caught.value)


def test_a_plugin_that_is_merely_installed_runs_with_keys_of_its_own(tmp_path: Path, graph_file: Path):
    site = tmp_path / "site"
    info = site / "halfway-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "halfway.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: halfway\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fedsieve.algorithms]\nhalf-way = halfway:ALGORITHM\n")

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fedsieve", "run", "--dataset", str(graph_file), "--num-clients", "2"]
        command += ["--num-rounds", "2", "-s", "hidden-dim=4", "--quiet", "--out", str(tmp_path / name), *arguments]
        path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
        return subprocess.run(
            command, check=False, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
        )

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
