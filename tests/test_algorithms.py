import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from fedsieve import plugins
from fedsieve.algorithms import (
    ENTRY_POINTS,
    Algorithm,
    AlgorithmConfig,
    AlgorithmFamily,
    algorithm_names,
    all_algorithm_names,
    load_algorithm,
    section_of,
)
from fedsieve.config import parse
from fedsieve.errors import UserError
from fedsieve.protocols.fed_avg import ALGORITHM
from fedsieve.testing.promises import BrokenPromiseError, check
from fedsieve.testing.runs import Setting
from fedsieve.testing.trial import Trial
from tests.helpers import forget_plugins

# The package fedsieve.data is made empty, so that it is only its names that count here.
LIGHT = """
import sys, types, fedsieve
data = sys.modules["fedsieve.data"] = types.ModuleType("fedsieve.data")
data.__path__ = [fedsieve.__path__[0] + "/data"]

from fedsieve.algorithms import algorithm_names, load_algorithm
for name in sys.argv[1:]:
    load_algorithm(name).config()
print(sorted({"torch", "flwr", "ray"} & sys.modules.keys()))
"""


BUILT_IN = [name for name in all_algorithm_names() if ":" not in name and plugins.plugin_of(ENTRY_POINTS, name) is None]


def test_neither_the_registry_nor_an_algorithm_imports_torch():
    assert "fed-pub" in BUILT_IN
    done = subprocess.run([sys.executable, "-c", LIGHT, *BUILT_IN], check=False, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("name", BUILT_IN)
def test_halves_that_are_only_named_are_there(name: str):
    algorithm = load_algorithm(name)
    assert isinstance(algorithm.strategy, str)
    assert isinstance(algorithm.trainer, str)
    assert algorithm.load_strategy().__module__ == algorithm.strategy.partition(":")[0]
    assert algorithm.load_trainer().__module__ == algorithm.trainer.partition(":")[0]


@pytest.mark.parametrize(
    ("half", "named", "sentence"),
    [
        (
            "strategy",
            "no_such:Thing",
            "the strategy 'no_such:Thing' could not be imported: ModuleNotFoundError: ",
        ),
        ("strategy", "fedsieve.strategies.fed_avg:Abg", "the strategy '.*Abg' could not be imported: AttributeError: "),
        ("strategy", "", "the strategy '' could not be imported: ValueError: "),
        ("strategy", "fedsieve.strategy", "'fedsieve.strategy' has the strategy <module .*>, allowed: a subclass of "),
        (
            "strategy",
            "fedsieve.client.fed_avg:FedAvgTrainer",
            "has the strategy .*FedAvgTrainer.*, allowed: ",
        ),
        (
            "strategy",
            "fedsieve.strategy:FederatedStrategy",
            "has a strategy without begin, broadcast, combine, ",
        ),
        ("trainer", "no_such:Thing", "the trainer 'no_such:Thing' could not be imported: ModuleNotFoundError: "),
        ("trainer", "fedsieve.contract:Trainer", "has a trainer without train, personal_model"),
        ("trainer", "fedsieve.client.training:fit", "has the trainer <function fit.*>, allowed: a class with the"),
    ],
)
def test_a_half_that_is_wrongly_named_is_one_sentence_once_it_is_needed(half: str, named: str, sentence: str):
    algorithm = replace(ALGORITHM, **{half: named})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=rf"^algorithm: (.* )?{sentence}.*\.$") as caught:
        algorithm.load_strategy() if half == "strategy" else algorithm.load_trainer()
    assert "\n" not in str(caught.value)


class Config(AlgorithmConfig):
    step: float = 0.5


def _made(member: str) -> Any:
    if member == "odd":
        return FAMILY
    if member == "open":
        return replace(ALGORITHM, config=AlgorithmConfig, defaults={"sounds": {}})
    if member == "failing":
        raise LookupError("no such\nmember")
    return replace(ALGORITHM, summary=member, config=Config)


FAMILY = AlgorithmFamily(["adam", "Yogi", "odd", "open", "failing"], _made)
MISNAMED = replace(ALGORITHM, trainer="no_such:Thing")
MISSPELT = replace(ALGORITHM, defaults={"graph": {"lr": 0.1, "steps": 2}})


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    here = {"flow": "FAMILY", "misnamed": "MISNAMED", "misspelt": "MISSPELT", "plain": "ALGORITHM", "lost": "NONE"}
    there = plugins.entry_points

    def entry_points(group: str) -> list[EntryPoint]:
        ours = [EntryPoint(name, f"{__name__}:{value}", group) for name, value in here.items()]
        return [*there(group=group), *(ours if group == ENTRY_POINTS else [])]

    monkeypatch.setattr(plugins, "entry_points", entry_points)
    forget_plugins()
    yield
    monkeypatch.undo()
    forget_plugins()


def test_a_family_is_named_by_itself_and_its_members_are_listed_on_demand():
    assert "flow" in algorithm_names()
    members = {name for name in all_algorithm_names() if name.startswith("flow")}
    assert members == {"flow:adam", "flow:Yogi", "flow:odd", "flow:open", "flow:failing"}
    assert set(algorithm_names()) - {"flow", "flwr"} < set(all_algorithm_names()), "one that is broken hides no other"


def test_a_member_has_the_familys_keys():
    assert load_algorithm("flow:Yogi").summary == "Yogi"
    assert load_algorithm("flow:Yogi") == load_algorithm("flow:Yogi")
    assert section_of("flow:Yogi") == "flow"
    run = parse({"algorithm": "flow:adam", "flow.step": 0.25})
    assert run.algorithm == "flow:adam"
    assert run.flat()["flow.step"] == 0.25
    with pytest.raises(UserError, match=r"^flow\.stepp: is not a key \(did you mean flow\.step\?\)"):
        parse({"algorithm": "flow:adam", "flow.stepp": 0.25})


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("flow", r"got 'flow'.*, allowed: flow:adam, flow:Yogi, flow:odd, flow:open, flow:failing\."),
        ("flow:", r"got 'flow:'.*, allowed: flow:adam, "),
        ("flow:Adam", r"got 'flow:Adam' \(did you mean flow:adam\?\), allowed: flow:adam, "),
        ("flow:adam:x", r"got 'flow:adam:x'.*, allowed: flow:adam, "),
        ("plain:x", r"got 'plain:x', allowed: 'plain', which has no members\."),
        ("plain:", r"got 'plain:', allowed: 'plain', which has no members\."),
        ("flow:odd", r"'flow:odd' is not a fedsieve\.algorithms\.Algorithm\."),
        ("flow:open", r"'flow:open' has defaults for the kind of data 'sounds', allowed: graph, images\."),
        ("flow:failing", r"'flow:failing' could not be made: LookupError: no such member\."),
        ("lost", r"'lost' \(.*:NONE of an unknown package\) could not be imported: AttributeError: "),
        ("fed-pubb", r"got 'fed-pubb' \(did you mean fed-pub\?\), allowed: "),
        ("flaw:adam", r"got 'flaw:adam' \(did you mean flow\?\), allowed: "),
        ("", r"got '', allowed: "),
    ],
)
def test_what_is_no_algorithm_is_one_sentence(name: str, sentence: str):
    with pytest.raises(UserError, match=rf"^algorithm: {sentence}") as caught:
        load_algorithm(name)
    assert "\n" not in str(caught.value)


def test_a_default_for_a_key_that_nobody_has_is_one_sentence():
    sentence = r"^algorithm: 'misspelt' has a default for steps, allowed: partition, model, local-epochs, lr\.$"
    for dataset in ("digits-knn", "digits"):
        with pytest.raises(UserError, match=sentence):
            parse({"algorithm": "misspelt", "dataset": dataset})


def test_conformance_looks_for_halves_that_are_only_named(tmp_path: Any):
    assert isinstance(load_algorithm("misnamed"), Algorithm)
    with pytest.raises(BrokenPromiseError, match=r"^algorithm: the trainer 'no_such:Thing' could not be imported: "):
        check(Trial(Setting("misnamed", {}, tmp_path)), "is-installed")
