"""Flower's own strategies as algorithms."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from fedsieve.algorithms import all_algorithm_names, load_algorithm
from fedsieve.errors import UserError
from fedsieve.protocols.flwr import MEMBERS
from fedsieve.runs.rounds import Round
from fedsieve.server.loop import RoundLoop
from fedsieve.simulations import resume
from tests.helpers import assert_same_run, config, rounds_of, simulated, summary_of

KEYS: dict[str, Any] = {"num-clients": 4, "num-rounds": 4, "hidden-dim": 4, "partition": "random"}


@pytest.fixture
def keys(graph_file: Path) -> dict[str, Any]:
    return KEYS | {"dataset": str(graph_file)}


def global_model(folder: Path) -> dict[str, np.ndarray]:
    return dict(load_file(folder / "model" / "global.safetensors"))


def test_flowers_fed_avg_is_ours(keys: dict[str, Any], tmp_path: Path):
    ours = simulated(tmp_path / "ours", keys, algorithm="fed-avg", fraction_train=0.5)
    theirs = simulated(tmp_path / "theirs", keys, algorithm="flwr:FedAvg", fraction_train=0.5)
    assert [line["participants"] for line in rounds_of(ours)] == [line["participants"] for line in rounds_of(theirs)]
    for name, array in global_model(ours).items():
        assert global_model(theirs)[name] == pytest.approx(array, abs=1e-6)
    figures = [summary_of(folder) for folder in (ours, theirs)]
    assert figures[0]["test_accuracy_per_client"] == figures[1]["test_accuracy_per_client"]
    assert figures[0]["uplink_bytes_per_client_round"] == figures[1]["uplink_bytes_per_client_round"]


@pytest.mark.parametrize("member", MEMBERS)
def test_each_member_runs(member: str, keys: dict[str, Any], tmp_path: Path):
    folder = simulated(tmp_path / "run", keys, algorithm=f"flwr:{member}", num_clients=5)
    assert summary_of(folder)["num_rounds"] == 4
    assert all(np.isfinite(array).all() for array in global_model(folder).values())


@pytest.mark.parametrize("member", ["FedAdam", "FedAvgM", "FedYogi", "QFedAvg"])
def test_a_resumed_run_is_as_if_it_had_not_been_interrupted(
    member: str, keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    own = {"algorithm": f"flwr:{member}"} | ({"flwr.server-momentum": 0.9} if member == "FedAvgM" else {})
    whole = simulated(tmp_path / "whole", keys | own)
    play = RoundLoop._play_round

    def interrupt(self: RoundLoop, number: int, *args: Any, **others: Any) -> Round:
        if number == 3:
            raise KeyboardInterrupt
        return play(self, number, *args, **others)

    with monkeypatch.context() as patch:
        patch.setattr(RoundLoop, "_play_round", interrupt)
        with pytest.raises(KeyboardInterrupt):
            simulated(tmp_path / "cut", keys | own)
    assert resume(tmp_path / "cut", quiet=True)
    assert_same_run(tmp_path / "cut", whole)


def test_momentum_changes_the_run(keys: dict[str, Any], tmp_path: Path):
    plain = simulated(tmp_path / "plain", keys, algorithm="flwr:FedAvgM")
    heavy = simulated(tmp_path / "heavy", keys | {"flwr.server-momentum": 0.9}, algorithm="flwr:FedAvgM")
    assert not np.allclose(global_model(plain)["conv1.weight"], global_model(heavy)["conv1.weight"], atol=1e-4)


def test_keys_are_the_strategys_own_arguments():
    run = config({"flwr.eta": 0.01}, algorithm="flwr:FedAdam")
    assert run.settings.model_dump() == {"eta": 0.01, "eta_l": 0.1, "beta_1": 0.9, "beta_2": 0.99, "tau": 0.001}
    with pytest.raises(UserError, match=r"^flwr\.etaa: is not a key \(did you mean flwr\.eta\?\), allowed: flwr\.eta,"):
        config({"flwr.etaa": 0.01}, algorithm="flwr:FedAdam")
    with pytest.raises(
        UserError, match=r"^algorithm: got 'flwr:FedAdm' \(did you mean flwr:FedAdam\?\), allowed: flwr"
    ):
        config(algorithm="flwr:FedAdm")
    with pytest.raises(UserError, match=r"^algorithm: got 'flwr', allowed: flwr:Bulyan, flwr:FedAdagrad"):
        config(algorithm="flwr")


def test_what_flower_refuses_is_one_sentence(keys: dict[str, Any], tmp_path: Path):
    with pytest.raises(UserError, match=r"^flwr: FedTrimmedAvg refuses .*`beta` must be in the range"):
        simulated(tmp_path / "run", keys | {"flwr.beta": 0.7}, algorithm="flwr:FedTrimmedAvg")


def test_the_list_has_each_member():
    assert {f"flwr:{member}" for member in MEMBERS} < set(all_algorithm_names())
    assert load_algorithm("flwr:Krum").summary == "Flower's strategy Krum"
