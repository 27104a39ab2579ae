"""Data that a user's function returns."""

from pathlib import Path
from typing import Any

import pytest

from fedsieve import load_model
from fedsieve.client.app.holdings import Images, Subgraph, deal_simulated
from fedsieve.data.fingerprint import fingerprint
from fedsieve.errors import UserError
from fedsieve.kinds import tell_kind
from tests.helpers import config, simulated

SOURCE = """
import torch
from torch.utils.data import Dataset
from torch_geometric.data import Data


class Shades(Dataset):
    classes = ["dark", "light", "unseen"]

    def __init__(self, count=20, make=lambda shade: torch.full((1, 8, 8), shade / 100)):
        self.count, self.make = count, make

    def __len__(self):
        return self.count

    def __getitem__(self, at):
        return self.make(at), int(at % 2)


def graph(count=30):
    node = torch.arange(count)
    edges = torch.stack([node, (node + 1) % count])
    return Data(x=torch.eye(3)[node % 3], edge_index=torch.cat([edges, edges.flip(0)], dim=1), y=node % 3)


def graphs():
    return [graph(), graph(12)]


def hospitals():
    return {"north": graph(), "south": graph(12)}


def shades():
    return Shades()


def splits():
    return {"train": Shades(6), "validation": Shades(2), "test": Shades(4)}


def sites():
    return {"a": Shades(10), "b": splits()}


def normalised():
    return Shades(4, lambda at: torch.full((1, 8, 8), -1.0))


def pairs():
    return [(torch.full((1, 8, 8), at / 100), at % 2) for at in range(20)]


def graph_splits():
    return {"train": graph(), "test": graph()}


def half_graphs():
    return [graph(), None]


def one_hot():
    return [(torch.zeros(1, 8, 8), torch.tensor([1, 0]))]


class Unreadable(Shades):
    def __getitem__(self, at):
        raise OSError("no disk")


def unreadable():
    return Unreadable()


def nothing():
    return None


def broken():
    raise ValueError("no disk")
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_data.py").write_text(SOURCE)


def test_a_graph_is_dealt():
    held = deal_simulated(config(dataset="my_data:graph", num_clients=3, partition="random"))
    assert all(isinstance(one, Subgraph) for one in held)
    assert sum(sum(one.count_labels()) for one in held) == 30


@pytest.mark.parametrize(("function", "names"), [("graphs", ["0", "1"]), ("hospitals", ["north", "south"])])
def test_a_list_or_mapping_of_graphs_is_one_a_client(function: str, names: list[str]):
    run = config(dataset=f"my_data:{function}")
    assert (run.partition, run.num_clients, run.model) == ("given", 2, "gcn")
    held = deal_simulated(run)
    assert [one.client for one in held] == names
    assert [sum(one.count_labels()) for one in held] == [30, 12]


def test_images_and_their_splits_are_taken():
    held = deal_simulated(config(dataset="my_data:shades", num_clients=2, partition="iid", model="mlp"))
    assert isinstance(held[0], Images)
    assert held[0].names == ("dark", "light", "unseen")
    assert held[0].data.images[:, 0, 0, 0].tolist() == [round(255 * shade / 100) for shade in range(20)]
    (whole,) = deal_simulated(config(dataset="my_data:splits", num_clients=1, partition="iid", model="mlp"))
    assert (sum(whole.counts[:2]), whole.counts[2]) == (8, 4)
    run = config(dataset="my_data:sites", model="mlp")
    assert [one.client for one in deal_simulated(run)] == ["a", "b"]
    assert [one.counts for one in deal_simulated(run)] == [(6, 2, 2), (6, 2, 4)]


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (
            {"dataset": "my_data:gone"},
            "dataset: got 'my_data:gone', but it cannot be imported: module 'my_data' has no",
        ),
        ({"dataset": "no_data:load"}, "dataset: got 'no_data:load', but it cannot be imported: No module named"),
        ({"dataset": "my_data:broken"}, "dataset: got 'my_data:broken', but it fails: ValueError: no disk"),
        ({"dataset": "my_data:nothing"}, "which returns a NoneType, allowed: a PyG Data, a torch Dataset of images"),
        ({"dataset": "my_data:graphs", "partition": "metis"}, "returns the data of 2 clients, allowed: with partition"),
        ({"dataset": "my_data:sites", "partition": "iid"}, "returns the data of 2 clients, allowed: with partition"),
        (
            {"dataset": "my_data:normalised", "model": "mlp"},
            r"item 0 has pixels from -1 to -1, allowed: bytes, or frac",
        ),
        ({"dataset": "my_data:graph_splits"}, r"\[train\]: is a graph, a Data, allowed: images; give a Data by itself"),
        ({"dataset": "my_data:one_hot", "model": "mlp"}, r"item 0 has the label tensor\(\[1, 0\]\), allowed: a whole"),
        ({"dataset": "my_data:unreadable", "model": "mlp"}, "item 0 cannot be read: OSError: no disk"),
        ({"dataset": "my_data:half_graphs"}, "item 1 of the list is a NoneType, allowed: a graph"),
        ({"dataset": "my_data:shades", "partition": "given"}, "which returns images without columns, allowed: a list"),
    ],
)
def test_what_is_of_no_use_is_a_sentence(keys: dict[str, Any], sentence: str):
    with pytest.raises(UserError, match=sentence):
        deal_simulated(config(keys))


def test_a_plain_list_of_pairs_is_one_set():
    (whole,) = deal_simulated(config(dataset="my_data:pairs", num_clients=1, partition="iid", model="mlp"))
    assert sum(whole.counts) == 20


def test_the_function_is_not_called_where_the_partition_tells_the_kind():
    assert config(dataset="no_data:load", partition="iid").model == "lenet"
    assert config(dataset="no_data:load", partition="metis").model == "gcn"
    assert tell_kind("my_data:graph") == "graph"


def test_a_run_says_whose_models_they_are_and_notices_other_code(tmp_path: Path):
    out = simulated(tmp_path / "run", dataset="my_data:hospitals", num_rounds=1, hidden_dim=4)
    assert '"north"' in (out / "summary.json").read_text()
    assert '"label_counts": {\n    "0": [ 10, 10, 10 ],' in (out / "summary.json").read_text()
    assert list(fingerprint("my_data:hospitals")) == ["my_data.py"]
    assert "my_data.py" in (out / "data.json").read_text()
    assert load_model(out, "south").lin.weight.equal(load_model(out, 1).lin.weight)
    with pytest.raises(UserError, match=r"client: got 'nord' \(did you mean north\?\), allowed: a number or a name"):
        load_model(out, "nord")


@pytest.mark.parametrize("kind", ["graph", "images"])
def test_what_a_function_returns_can_be_predicted(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from fedsieve.data.unseen import load_unseen

    images = "return [(np.full((8, 8), 16 * at, dtype=np.uint8), at % 2) for at in range(6)]"
    graph = "return {'x': np.eye(4), 'edge_index': np.array([[0, 1], [1, 0]]), 'y': np.arange(4) % 2}"
    (tmp_path / f"unseen_{kind}.py").write_text(
        f"import numpy as np\n\n\ndef load():\n    {graph if kind == 'graph' else images}\n"
    )
    monkeypatch.chdir(tmp_path)
    unseen = load_unseen(f"unseen_{kind}:load", (4,) if kind == "graph" else (1, 8, 8), ("0", "1"), named=False)
    assert unseen.labels.tolist() == ([0, 1] * 3)[: 4 if kind == "graph" else 6]
