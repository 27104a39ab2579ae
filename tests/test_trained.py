"""The models that a run has left: the very ones whose accuracies it has told."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch_geometric.nn
from flwr.app import Context, RecordDict
from torch import Tensor, nn
from torch.nn.utils import parametrize

import fedsieve
from fedsieve import load_model
from fedsieve.client.app.client_app import describe_on_disk, make_client_app, store_on_disk
from fedsieve.client.app.holdings import Images, Subgraph, deal_simulated
from fedsieve.client.app.privacy import make_secret_generator
from fedsieve.config import RunConfig, parse, read
from fedsieve.data.image_sets import scale
from fedsieve.errors import UserError
from fedsieve.models.gcn import propagation
from fedsieve.server.app import make_server_app
from fedsieve.simulations.flower_internals import SUPERLINK_NODE_ID
from fedsieve.simulations.inline import InlineGrid
from fedsieve.trained import format_ranges
from tests.helpers import ALGORITHMS, config, summary_of, write_graph
from tests.helpers import simulated as run_simulation

MASKED = {"fed-mask", "fed-pm", "fed-pub", "hide-n-seek", "lottery-fl"}

QUICK = {"num-clients": 3, "num-rounds": 2, "fraction-train": 0.7, "lr": 0.05}
"""Two of three clients are sampled a round, so that one may train for the metric only."""

OWN_NETS = """
from torch import nn


def images(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(16), nn.ReLU(), nn.Linear(16, num_classes))


class Flat(nn.Module):
    def __init__(self, num_features, num_classes):
        super().__init__()
        self.linear = nn.Linear(num_features, num_classes)

    def forward(self, graph):
        return graph.a_hat @ self.linear(graph.a_hat_x @ self.linear.weight.new_ones(self.linear.in_features).diag())


def graph(input_shape, num_classes):
    return Flat(input_shape[0], num_classes)
"""


def told(folder: Path) -> dict[int, tuple[float, int]]:
    """Return each client's last test accuracy and its number of test examples, from clients.csv."""
    with (folder / "clients.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["test_accuracy"]]
    return {int(row["client"]): (float(row["test_accuracy"]), int(row["test_count"])) for row in rows}


def config_of(folder: Path) -> RunConfig:
    return parse(read(folder / "config.toml"))


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())


def of_graph(model: nn.Module, held: Subgraph, own: bool = False) -> float:
    graph = held.graph
    with torch.no_grad():
        logits = model(propagation(graph.x, graph.edge_index)) if own else model(graph.x, graph.edge_index)
    return accuracy(logits[graph.test_mask], graph.y[graph.test_mask])


def of_images(model: nn.Module, held: Images) -> float:
    with torch.no_grad():
        return accuracy(model(scale(held.data.images[held.part.test])), held.data.labels[held.part.test])


def assert_plain(model: nn.Module) -> None:
    assert not model.training
    assert not any(module.training for module in model.modules())
    assert not any(parametrize.is_parametrized(module) for module in model.modules())
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in model.parameters())


def share_of_zeros(model: nn.Module) -> float:
    weights = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    return 1 - sum(int(weight.count_nonzero()) for weight in weights) / sum(weight.numel() for weight in weights)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_loaded_gcn_is_as_accurate_on_the_clients_test_nodes_as_the_run_says(algorithm: str, tmp_path: Path):
    graph = write_graph(tmp_path / "own.npz", per_class=60)
    folder = run_simulation(tmp_path / "run", QUICK, algorithm=algorithm, dataset=str(graph), hidden_dim=16)
    figures = told(folder)
    assert sorted(figures) == [0, 1, 2]
    for client, held in enumerate(deal_simulated(config_of(folder))):
        assert isinstance(held, Subgraph)
        model = load_model(folder, client)
        assert_plain(model)
        assert type(model) is torch_geometric.nn.GCN
        assert of_graph(model, held) == pytest.approx(figures[client][0], abs=1e-9)
        assert int(held.graph.test_mask.sum()) == figures[client][1]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_loaded_image_network_is_as_accurate_on_the_clients_test_images_as_the_run_says(
    algorithm: str, tmp_path: Path
):
    keys = QUICK | {"dataset": "digits", "partition": "pathological", "examples-per-client": 100}
    if algorithm == "lottery-fl":
        keys |= {"lottery-fl.accuracy-threshold": 0.0}
    folder = run_simulation(tmp_path / "run", keys, algorithm=algorithm)
    figures = told(folder)
    for client, held in enumerate(deal_simulated(config_of(folder))):
        assert isinstance(held, Images)
        model = load_model(str(folder), client)
        assert_plain(model)
        assert of_images(model, held) == pytest.approx(figures[client][0], abs=1e-9)
        if algorithm in MASKED - {"fed-pub", "hide-n-seek"}:
            assert share_of_zeros(model) > 0.05
    shared = summary_of(folder)["test_accuracy_global"]
    if shared is None:
        with pytest.raises(UserError, match=r"^client: got none, and the clients share no model, allowed: 0 to 2, "):
            load_model(folder)
    else:
        model, parts = load_model(folder), deal_simulated(config_of(folder))
        hits = [of_images(model, held) * len(held.part.test) for held in parts if isinstance(held, Images)]
        assert sum(hits) / sum(count for _, count in figures.values()) == pytest.approx(shared)


@pytest.mark.parametrize("mask", ["fed-mask.mask=ternary", "fed-mask.mask=2:4", "fed-pub.mask=magnitude:0.5"])
def test_masks_of_every_family_are_folded_in(mask: str, tmp_path: Path):
    key, family = mask.split("=")
    keys = QUICK | {"dataset": "digits", "partition": "pathological", "examples-per-client": 100, key: family}
    folder = run_simulation(tmp_path / "run", keys, algorithm=key.partition(".")[0])
    for client, held in enumerate(deal_simulated(config_of(folder))):
        assert isinstance(held, Images)
        model = load_model(folder, client)
        assert_plain(model)
        assert of_images(model, held) == pytest.approx(told(folder)[client][0], abs=1e-9)
        assert share_of_zeros(model) > 0.05


@pytest.mark.parametrize("kind", ["images", "graph"])
def test_a_network_of_the_users_own_is_loaded_as_it_is(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "my_nets.py").write_text(OWN_NETS)
    monkeypatch.chdir(tmp_path)
    dataset = "digits" if kind == "images" else str(write_graph(tmp_path / "own.npz"))
    folder = run_simulation(tmp_path / "run", QUICK, dataset=dataset, model=f"my_nets:{kind}")
    for client, held in enumerate(deal_simulated(config_of(folder))):
        model = load_model(folder, client)
        assert_plain(model)
        assert type(model).__module__ in ("my_nets", "torch.nn.modules.container")
        found = of_images(model, held) if isinstance(held, Images) else of_graph(model, held, own=True)  # type: ignore[arg-type]
        assert found == pytest.approx(told(folder)[client][0], abs=1e-9)


def test_a_model_is_loaded_when_the_data_set_is_gone(tmp_path: Path):
    graph = write_graph(tmp_path / "own.npz")
    folder = run_simulation(tmp_path / "run", QUICK, dataset=str(graph), hidden_dim=4)
    before = load_model(folder, 0)
    graph.unlink()
    x, edges = torch.randn(5, 3), torch.tensor([[0, 1], [1, 2]])
    assert torch.equal(before(x, edges), load_model(folder, 0)(x, edges))


def test_what_is_not_there_is_told_in_one_sentence(tmp_path: Path):
    with pytest.raises(UserError, match=r"none: holds no config.toml; allowed: the folder of a run\.$"):
        load_model(tmp_path / "none", 0)
    graph = write_graph(tmp_path / "own.npz")
    folder = run_simulation(tmp_path / "run", QUICK, dataset=str(graph), hidden_dim=4)
    (folder / "model" / "client-1.safetensors").unlink()
    with pytest.raises(UserError, match=r"^client: got 7, allowed: 0, 2, whose models .*/run/model holds\.$"):
        load_model(folder, 7)
    model = folder / "model" / "client-0.safetensors"
    whole = model.read_bytes()
    model.write_bytes(whole[:-3])
    with pytest.raises(UserError, match=r"run: the model of client 0 is none of this version of FedSieve \("):
        load_model(folder, 0)
    model.write_bytes(whole)
    config = folder / "config.toml"
    config.write_text(config.read_text().replace("hidden-dim = 4", "hidden-dim = 8"))
    with pytest.raises(UserError, match=r"^model: classifier.weight is \(3, 4\), and \(3, 8\) in the network that "):
        load_model(folder, 0)
    shutil.rmtree(folder / "model")
    with pytest.raises(
        UserError, match=r"its models have stayed on the devices, each in a folder run-\.\.\. of the dev"
    ):
        load_model(folder, 0)
    (folder / "summary.json").unlink()
    with pytest.raises(UserError, match=r"the run has not ended, and models are written when it does; allowed: after "):
        load_model(folder, 0)


@pytest.mark.parametrize("algorithm", ["fed-pub", "hide-n-seek"])
def test_a_devices_own_folder_is_loaded_like_a_runs(algorithm: str, tmp_path: Path):
    keys = QUICK | {"algorithm": algorithm, "dataset": "digits", "partition": "iid", "examples-per-client": 60}
    simulation = run_simulation(tmp_path / "simulation", keys)
    run = config(keys, out=str(tmp_path / "deployed"))
    grid = InlineGrid(
        make_client_app(store_on_disk, make_secret_generator, describe=describe_on_disk), run.num_clients, run.flat()
    )
    server = make_server_app(engine="deployment", export=False, quiet=True)
    server(grid, Context(1, SUPERLINK_NODE_ID, {}, RecordDict(), run.flat()))
    with pytest.raises(UserError, match=r"deployed: its models have stayed on the devices, each in a folder run"):
        load_model(tmp_path / "deployed", 0)
    (folder,) = (tmp_path / "state").iterdir()
    for client in range(3):
        model = load_model(folder, client)
        assert_plain(model)
        expected = load_model(simulation, client).state_dict()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(UserError, match=r"^client: got 3, allowed: 0 to 2, whose states .*/state/run-[0-9a-f]{16} "):
        load_model(folder, 3)
    with pytest.raises(UserError, match=r"^client: got none, and a device has no shared model, allowed: 0 to 2, "):
        load_model(folder)


def test_a_run_of_no_rounds_has_no_model(tmp_path: Path):
    graph = write_graph(tmp_path / "own.npz")
    folder = run_simulation(tmp_path / "run", QUICK | {"num-rounds": 0}, dataset=str(graph), hidden_dim=4)
    with pytest.raises(UserError, match="holds no model, for no client had trained when the run ended"):
        load_model(folder, 0)


def test_client_numbers_are_told_as_ranges():
    assert format_ranges([0, 1, 2, 4, 7, 8]) == "0 to 2, 4, 7 to 8"


def test_to_import_the_package_is_not_to_import_torch():
    code = "import sys, fedsieve; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_package_says_what_it_has():
    assert fedsieve.load_model is load_model
    with pytest.raises(AttributeError, match="module 'fedsieve' has no attribute 'load_modell'"):
        fedsieve.load_modell  # noqa: B018
