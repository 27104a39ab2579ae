"""All algorithms keep the promises that `fedsieve.testing` asks of them, and one that breaks a promise is found out."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fedsieve.algorithms import ENTRY_POINTS, algorithm_names
from fedsieve.new_plugin import new_plugin
from fedsieve.plugins import plugin_of
from fedsieve.testing import conformance
from fedsieve.testing.promises import PROMISES, BrokenPromiseError, NotTriedError, check
from fedsieve.testing.runs import Setting
from fedsieve.testing.suite import ON_RAY, ray_players
from fedsieve.testing.trial import Trial
from tests.helpers import installed, installed_from

PLUGINS = Path(__file__).parent / "plugins"
EXAMPLES = Path(__file__).parents[1] / "examples"

test_fed_avg = conformance("fed-avg")
test_fed_mask = conformance("fed-mask")
test_fed_pm = conformance("fed-pm", {"fed-pm.reset": 3})
test_fed_prox = conformance("fed-prox")
test_fed_pub = conformance("fed-pub")
test_flwr = conformance("flwr:FedAdam")
test_hide_n_seek = conformance("hide-n-seek")
test_local = conformance("local")
test_lottery_fl = conformance("lottery-fl")
test_ditto = conformance("ditto")
test_newly_made = conformance("newly-made", {"newly-made.step": 0.5})

BOTH = {"survives-a-failing-client", "survives-an-absent-client"}

BROKEN: dict[str, tuple[set[str], str]] = {
    "thawed": ({"is-installed"}, "has a config, ThawedConfig, that is not frozen"),
    "renaming": ({"runs-on-graph", "runs-on-images"}, "personal_model returns other weights than the network's"),
    "curtailed": ({"runs-on-graph", "runs-on-images"}, "global_model returns other weights than the network's"),
    "widened": ({"runs-on-graph", "runs-on-images"}, "is F64 "),
    "graphs-only": ({"runs-on-images"}, "a run on images ends with: round 1: none of 3 clients"),
    "unseeded": ({"deterministic-graph", "deterministic-images"}, "something is drawn that fedsieve.seeds or torch's"),
    "remembering": ({"keeps-client-state"}, "the trainer remembers something that is not in the state"),
    "trusting": ({"rejects-wrong-values"}, "numbers that stand for nothing"),
    "counting": ({"rejects-wrong-values"}, "is rejected, but the run is not as if the client had failed"),
    "adding": ({"ignores-the-order-of-replies"}, "something is summed up as they arrive"),
    "expecting": (BOTH, "KeyError: "),
    "drifting": ({"keeps-server-state"}, "the strategy remembers something that state and load_state"),
}
"""Of each broken algorithm the promises that it breaks, and what its author is told."""


@pytest.fixture(scope="module", autouse=True)
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Install them, the example and one that `fedsieve new-plugin` writes, for this process and its Ray workers."""
    made, site = tmp_path_factory.mktemp("newly-made"), tmp_path_factory.mktemp("site")
    new_plugin("newly-made", made)
    names = {name: f"broken_algorithms:{name.upper().replace('-', '_')}" for name in [*BROKEN, "located"]}
    with ExitStack() as stack:
        for package in (made, EXAMPLES / "ditto"):
            stack.enter_context(installed_from(package, site / package.name))
        stack.enter_context(installed(site / "broken", "broken-algorithms", names, PLUGINS))
        yield


def verdicts(trial: Trial, promises: Iterable[str]) -> dict[str, str]:
    """Return what the author of an algorithm is told about each of these promises that it breaks."""
    told = {}
    for promise in promises:
        try:
            check(trial, promise)
        except BrokenPromiseError as broken:
            told[promise] = str(broken)
        except NotTriedError:
            continue
    return told


def test_every_built_in_algorithm_is_here():
    there = {name.removeprefix("test_").replace("_", "-") for name in globals() if name.startswith("test_")}
    assert {name for name in algorithm_names() if plugin_of(ENTRY_POINTS, name) is None} <= there


def test_a_key_that_the_tests_need_for_themselves_is_told():
    with pytest.raises(
        ValueError, match=r"^conformance: got the key num-rounds, of which the tests need their own value"
    ):
        conformance("fed-avg", {"num-rounds": 3, "optimizer": "sgd"})


@pytest.mark.parametrize("name", BROKEN)
def test_an_algorithm_that_breaks_a_promise_is_told_that_one_and_no_other(name: str, tmp_path: Path):
    broken, words = BROKEN[name]
    told = verdicts(Trial(Setting(name, {}, tmp_path)), set(PROMISES) - {ON_RAY})
    assert set(told) == broken
    for sentence in told.values():
        assert words in sentence
        assert sentence.endswith(".")
        assert "\n" not in sentence


@pytest.mark.xdist_group("ray")
def test_an_algorithm_that_depends_on_its_process_is_told_so(tmp_path: Path, request: pytest.FixtureRequest):
    trial = Trial(Setting("located", {}, tmp_path), players=lambda: ray_players(request))
    told = verdicts(trial, PROMISES)
    assert set(told) == {ON_RAY}
    assert "train_loss" in told[ON_RAY]
    assert "something depends on the process that a client is in" in told[ON_RAY]
