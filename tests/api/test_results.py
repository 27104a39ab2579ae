from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.data import Data

import fedsieve
from fedsieve import UserError
from fedsieve.testing import write_graph
from tests.helpers import rounds_of, summary_of


def test_a_runs_figures_are_those_of_its_files(runs: Path):
    run = fedsieve.open(str(runs / "pub"))
    assert run.summary == summary_of(runs / "pub")
    assert run.rounds["test_accuracy"].tolist() == [line["test_accuracy"] for line in rounds_of(runs / "pub")]
    assert (run.rounds["seconds"] > 0).all()
    assert set(run.clients["round"]) >= {1, 2, 3}
    assert run.clients["val_accuracy"].dtype == float
    assert run.config["fed-pub.tau"] == 3.0
    assert repr(run) == (
        f"<Run of fed-pub on own.npz, finished, test accuracy {100 * run.summary['test_accuracy']:.1f} % in "
        f"{runs / 'pub'}>"
    )


def test_a_notebook_shows_a_table_with_nothing_in_it_that_is_code(runs: Path, tmp_path: Path):
    shown = fedsieve.open(runs / "pub")._repr_html_()
    assert "<td style='text-align: left'>fed-pub</td>" in shown
    nasty = tmp_path / "<b>"
    nasty.symlink_to(runs / "pub")
    assert "<b>" not in fedsieve.open(nasty)._repr_html_()


def test_runs_are_compared_the_best_first(runs: Path):
    table = fedsieve.open(runs / "pub").compare(runs / "alone", fedsieve.open(runs / "pub"))
    assert table["test_accuracy"].is_monotonic_decreasing
    assert set(table["algorithm"]) == {"fed-pub", "local"}
    assert "num-clients" not in table
    assert len(table) == 3


def test_models_and_predictions_take_data_in_memory(runs: Path):
    run = fedsieve.open(runs / "pub")
    assert isinstance(run.model(0), nn.Module)
    data = Data(x=torch.eye(5, run.model(0).in_channels), edge_index=torch.empty(2, 0, dtype=torch.long))
    table = run.predict(data, client=0, probabilities=True)
    assert table["node"].tolist() == list(range(5))
    assert table["probability"].between(0, 1).all()
    assert list(table)[:3] == ["node", "predicted", "probability"]
    with pytest.raises(UserError, match=r"^client: got 9"):
        run.model(9)


def test_a_run_that_was_cut_off_is_read(runs: Path, tmp_path: Path):
    for name in ("config.toml", "clients.csv", "rounds.jsonl", "timings.jsonl"):
        (tmp_path / name).write_text((runs / "pub" / name).read_text())
    (tmp_path / "clients.csv").write_text((tmp_path / "clients.csv").read_text()[:-20])
    run = fedsieve.open(tmp_path)
    assert run.ended == "killed"
    assert len(run.clients) == len(fedsieve.open(runs / "pub").clients) - 1


def test_a_report_is_written_and_a_folder_without_a_run_is_refused(runs: Path, tmp_path: Path):
    assert fedsieve.open(runs / "pub").report() == runs / "pub" / "report.html"
    with pytest.raises(UserError, match=r"holds no config\.toml; allowed: the folder of a run\.$"):
        fedsieve.open(tmp_path)


def test_a_graph_in_memory_runs_as_its_file_and_is_written_once(tmp_path: Path):
    keys = {"num_clients": 3, "num_rounds": 1, "hidden_dim": 4, "quiet": True}
    path = write_graph(tmp_path / "own.npz")
    with np.load(path) as arrays:
        data = Data(**{key: torch.from_numpy(arrays[key]) for key in arrays.files})
    run = fedsieve.run("fed-avg", data, out=tmp_path / "run", **keys)
    again = fedsieve.run("fed-avg", data.clone(), out=tmp_path / "again", **keys)
    other = fedsieve.run("fed-avg", path, out=tmp_path / "other", **keys)
    assert run.config["dataset"] == again.config["dataset"]
    assert run.clients.equals(other.clients)
    data.y[0] = 1 - data.y[0]
    assert fedsieve.run("fed-avg", data, out=tmp_path / "new", **keys).config["dataset"] != run.config["dataset"]


def test_a_list_of_graphs_is_a_client_each(tmp_path: Path):
    with np.load(write_graph(tmp_path / "own.npz")) as arrays:
        data = Data(**{key: torch.from_numpy(arrays[key]) for key in arrays.files})
    parts = [data.subgraph(torch.arange(start, 90, 3)) for start in range(3)]
    run = fedsieve.run("fed-avg", parts, out=tmp_path / "run", num_rounds=1, hidden_dim=4, quiet=True)
    assert (run.config["partition"], run.config["num-clients"]) == ("given", 3)
    assert len(run.clients) == 3


def test_a_partition_is_written_as_files_on_which_a_run_has_the_same_numbers(graph_file: Path, tmp_path: Path):
    dealt = {"num_clients": 3, "partition": "louvain", "seed": 1}
    keys = {"num_rounds": 1, "hidden_dim": 4, "seed": 1, "quiet": True}
    files = fedsieve.partition(graph_file, tmp_path / "parts", **dealt)
    assert [file.name for file in files] == [f"client-{at}.npz" for at in range(3)]
    given = fedsieve.run("fed-avg", tmp_path / "parts", partition="given", out=tmp_path / "given", **keys)
    assert given.clients.equals(fedsieve.run("fed-avg", graph_file, out=tmp_path / "run", **keys | dealt).clients)
    with pytest.raises(UserError, match=r"^out: got .*parts, which is not empty"):
        fedsieve.partition(graph_file, tmp_path / "parts", **dealt)


def test_a_key_that_is_not_read_is_refused_from_python_too(graph_file: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"alpha: got 0\.3 with partition = 'metis', which does not"):
        fedsieve.run("fed-avg", graph_file, alpha=0.3, out=tmp_path / "run")
    with pytest.raises(UserError, match=r"alpha: got 0\.3 with partition = 'metis', which does not"):
        fedsieve.partition(graph_file, tmp_path / "parts", alpha=0.3)
