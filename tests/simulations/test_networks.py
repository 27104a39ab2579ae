"""Runs of graph networks besides `gcn`, on a graph whose edges have weights and attributes."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fedsieve import load_model
from fedsieve.catalogue import GRAPH_MODELS
from fedsieve.client.app.holdings import Subgraph, deal_simulated
from fedsieve.config import parse, read
from fedsieve.errors import UserError
from fedsieve.inputs import run_network
from fedsieve.models import graph_of
from tests.helpers import assert_same_run, fedsieve, simulated, write_graph

TINY = {"num-clients": 2, "num-rounds": 2, "hidden-dim": 8, "partition": "random", "lr": 0.05}


@pytest.fixture
def with_edges(tmp_path: Path) -> Path:
    """A directed graph with self-loops, a weight and two attributes an edge."""
    random = np.random.RandomState(1)
    edges = np.concatenate([random.randint(0, 45, (2, 300)), [np.arange(9), np.arange(9)]], axis=1)
    carried = {"edge_weight": random.rand(309), "edge_attr": random.standard_normal((309, 2))}
    return write_graph(tmp_path / "edges.npz", per_class=15, edge_index=edges, **carried)


def accuracies(folder: Path) -> list[float]:
    with (folder / "clients.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["round"]) == TINY["num-rounds"]]
    return [float(row["test_accuracy"]) for row in sorted(rows, key=lambda row: int(row["client"]))]


@pytest.mark.parametrize("name", [*GRAPH_MODELS, "torch_geometric.nn:GAT", "fedsieve.testing.networks:Gated"])
def test_each_network_runs_is_loaded_and_predicts(
    name: str, with_edges: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    folder = simulated(tmp_path / "run", TINY, dataset=str(with_edges), model=name)
    held = deal_simulated(parse(read(folder / "config.toml")))
    for client, accuracy in enumerate(accuracies(folder)):
        model, part = load_model(folder, client), held[client]
        assert isinstance(part, Subgraph)
        with torch.no_grad():
            predicted = run_network(model, graph_of(part.graph)).argmax(1)
            assert model(part.graph.x, part.graph.edge_index).shape == (part.graph.num_nodes, 3)
        mask = part.graph.test_mask
        assert (predicted == part.graph.y)[mask].double().mean().item() == pytest.approx(accuracy, abs=1e-9)
    assert fedsieve("predict", folder, "--client", 0, with_edges) == 0
    assert len(Path("predictions.csv").read_text().splitlines()) == 46


@pytest.mark.xdist_group("ray")
def test_a_network_with_attention_over_attributes_is_the_same_on_ray(with_edges: Path, tmp_path: Path):
    keys = TINY | {"dataset": str(with_edges), "model": "gat"}
    expected = simulated(tmp_path / "inline", keys)
    assert_same_run(simulated(tmp_path / "ray", keys, engine="ray", num_workers=2), expected)


def test_weights_of_edges_change_a_run_and_all_1_does_not(with_edges: Path, tmp_path: Path):
    with np.load(with_edges) as arrays:
        edges = arrays["edge_index"][:, :300]
    simple = np.unique(edges, axis=1)
    keys = TINY | {"model": "gcn", "dropout": 0.0}
    losses = []
    for number, weight in enumerate((None, np.ones(simple.shape[1]), np.linspace(0.1, 3, simple.shape[1]))):
        graph = write_graph(tmp_path / f"{number}.npz", per_class=15, edge_index=simple, edge_weight=weight)
        folder = simulated(tmp_path / f"run-{number}", keys, dataset=str(graph))
        losses.append([json.loads(line)["train_loss"] for line in (folder / "rounds.jsonl").read_text().splitlines()])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] != pytest.approx(losses[2], rel=1e-3)


@pytest.mark.parametrize(
    ("model", "ignored"), [("sage", ["edge_weight", "edge_attr"]), ("gat", ["edge_weight"]), ("gcn", ["edge_attr"])]
)
def test_what_a_network_ignores_is_named_once(
    model: str, ignored: list[str], with_edges: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    simulated(tmp_path / "run", TINY, dataset=str(with_edges), model=model)
    named = [message for message in caplog.messages if "takes no" in message]
    assert named == [f"model = {model!r} takes no {name}, which the data have" for name in ignored]


def test_attributes_in_other_numbers_than_in_training_are_one_sentence(
    with_edges: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    folder = simulated(tmp_path / "run", TINY | {"num-rounds": 1}, dataset=str(with_edges), model="gat")
    bare = write_graph(tmp_path / "bare.npz", per_class=15)
    assert fedsieve("predict", folder, "--client", 0, bare) == 2
    sentence = f"{bare}: edge_attr has none, allowed: 2 an edge, which the run's models take."
    assert sentence in " ".join(capfd.readouterr().err.split())
    plain = simulated(tmp_path / "plain", TINY | {"num-rounds": 1}, dataset=str(bare), model="gat")
    assert fedsieve("predict", plain, "--client", 0, with_edges) == 0
    assert "edge_attr ignored" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("model", "dataset", "sentence"),
    [
        ("sagee", "digits-knn", "model: got 'sagee' (did you mean sage?), allowed: gcn, sage, gat"),
        ("sage", "digits", "model: got 'sage', allowed for image data: lenet, conv2"),
        ("lenet", "digits-knn", "model: got 'lenet', allowed for graph data: gcn, sage, gat"),
    ],
)
def test_a_network_of_that_name_or_for_such_data_is_looked_for_without_torch(model: str, dataset: str, sentence: str):
    code = (
        "import sys\nfrom fedsieve import cli\n"
        f"sys.argv = ['fedsieve', 'run', '--model', {model!r}, '--dataset', {dataset!r}]\n"
        "try:\n    cli.main()\nfinally:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stdout.split() == ["False"]


def test_a_network_for_other_data_is_refused_by_the_run_too(tmp_path: Path):
    with pytest.raises(UserError, match=r"^model: got 'sage', allowed for image data: lenet"):
        simulated(tmp_path / "run", dataset="digits", model="sage")
