"""Algorithms given as classes and objects."""

from pathlib import Path
from typing import Any

import pytest
from flwr.serverapp.strategy import FedAdam

import fedsieve
from fedsieve import objects
from fedsieve.algorithms import Algorithm, AlgorithmConfig, load_algorithm, section_of
from fedsieve.api.given import name_algorithm
from fedsieve.client.fed_avg import FedAvgTrainer
from fedsieve.config import parse
from fedsieve.errors import UserError
from fedsieve.protocols.fed_pub import ALGORITHM as FED_PUB
from fedsieve.strategies import FedAvg, FedPub
from tests.helpers import assert_same_run

SMALL: dict[str, Any] = {"num_clients": 3, "num_rounds": 2, "hidden_dim": 4, "quiet": True}


class Keys(AlgorithmConfig):
    step_size: float = 0.5


class Mine(FedAvg):
    """FedAvg under a name of my own.

    More of it.
    """

    trainer = FedAvgTrainer
    config = Keys


class Lacking(FedAvg):
    trainer = object


OBJECT = Algorithm("an object", Keys, FedAvg, FedAvgTrainer)
HERE = "tests.api.test_algorithms"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("fed-pub", "fed-pub"),
        (FedPub, "fed-pub"),
        (FED_PUB, "fed-pub"),
        (FedAdam, "flwr:FedAdam"),
        (Mine, f"{HERE}:Mine"),
        (OBJECT, f"{HERE}:OBJECT"),
        (Algorithm("no global", Keys, FedAvg, FedAvgTrainer), "<python>:Algorithm"),
    ],
)
def test_an_algorithm_is_named_as_it_can_be_found_again(given: Any, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(objects, "_NAMED", {})
    assert name_algorithm(given) == name


def test_a_class_runs_as_what_it_is_made_of(graph_file: Path, tmp_path: Path):
    run = fedsieve.run(Mine, graph_file, out=tmp_path / "run", settings={"step_size": 0.25}, **SMALL)
    other = fedsieve.run(FedAvg, graph_file, out=tmp_path / "other", **SMALL)
    assert (run.folder / "clients.csv").read_bytes() == (other.folder / "clients.csv").read_bytes()
    assert run.config["Mine.step-size"] == 0.25
    again = parse(run.config | {"out": str(tmp_path / "again")})
    assert (again.algorithm, again.settings) == (f"{HERE}:Mine", Keys(step_size=0.25))
    assert load_algorithm(f"{HERE}:Mine").summary == "FedAvg under a name of my own."


def test_an_object_of_this_process_runs_and_resumes(graph_file: Path, tmp_path: Path):
    made = Algorithm("mine", Keys, FedAvg, FedAvgTrainer)
    run = fedsieve.run(made, graph_file, out=tmp_path / "run", on_round=lambda _: True, **SMALL)
    whole = fedsieve.run(made, graph_file, out=tmp_path / "whole", settings={"step_size": 0.5}, **SMALL)
    assert_same_run(run.resume(quiet=True).folder, whole.folder)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (f"{HERE}:Nothing", r"could not be imported: AttributeError: "),
        (f"{HERE}:SMALL", r"is no algorithm, allowed: a subclass of fedsieve\.strategy\.FederatedStrategy whose "),
        (f"{HERE}:Lacking", r"has a trainer without train, personal_model\."),
        ("<python>:Gone", r"could not be imported: it was an object of the Python session that began the run"),
    ],
)
def test_what_a_path_names_that_is_no_algorithm_is_one_sentence(name: str, sentence: str):
    with pytest.raises(UserError, match=rf"^algorithm: '{name}' {sentence}"):
        load_algorithm(name)


def test_the_keys_of_a_class_have_its_name():
    assert section_of("my_package.my_module:Outer.Inner") == "Inner"
    with pytest.raises(UserError, match=r"^Mine\.step: is not a key \(did you mean Mine\.step-size\?\)"):
        parse({"algorithm": f"{HERE}:Mine", "Mine.step": 1.0})
    with pytest.raises(UserError, match=r"^Mine\.step-size: no algorithm is called 'Mine'"):
        parse({"algorithm": "fed-avg", "Mine.step-size": 1.0})
