from pathlib import Path
from typing import Any

import pytest

import fedsieve
from fedsieve import UserError
from fedsieve.api.sweeping import _gather_values


def test_lists_are_swept_and_the_rest_is_of_all_runs():
    keys: dict[str, Any] = {"algorithm": ["fed-avg", "local"], "dataset": "cora", "lr": (0.1, 0.2), "num_rounds": 3}
    assert _gather_values(range(2), None, keys) == {
        "dataset": "cora",
        "num-rounds": 3,
        "seeds": [0, 1],
        "sweep": {"algorithm": ["fed-avg", "local"], "lr": [0.1, 0.2]},
    }


def test_a_sweep_runs_in_processes_of_its_own_and_is_a_table(graph_file: Path, tmp_path: Path):
    keys: dict[str, Any] = {"dataset": graph_file, "num_clients": 2, "num_rounds": 1, "hidden_dim": 4, "quiet": True}
    made = fedsieve.sweep(out=tmp_path / "out", algorithm=["fed-avg", "local"], **keys)
    assert set(made.table["algorithm"]) == {"fed-avg", "local"}
    assert len(made.runs) == 2
    assert "<table" in made._repr_html_()


def test_what_other_processes_cannot_import_is_refused(graph_file: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"^model: got lambda, which other processes cannot import, allowed: one at"):
        fedsieve.sweep(out=tmp_path / "out", dataset="digits", algorithm="fed-avg", model=lambda *_: None)
    with pytest.raises(UserError, match=r"^sweep: sweep\.rl: is not a key"):
        fedsieve.sweep(out=tmp_path / "out", dataset="digits", rl=[0.1])
    assert not (tmp_path / "out").exists()
