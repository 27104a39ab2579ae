from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.data import Data

from fedsieve.data import pyg
from fedsieve.data.graphs import load_graph
from fedsieve.data.split import MASKS
from fedsieve.errors import UserError

N = 12


def write_coauthor(raw: Path) -> None:
    raw.mkdir(parents=True)
    ring = np.arange(N)
    adjacency = sp.csr_matrix((np.ones(N), (ring, (ring + 1) % N)), shape=(N, N))
    features = sp.csr_matrix(np.eye(N, 4))
    parts = {
        f"{prefix}_{part}": getattr(matrix, part)
        for prefix, matrix in (("adj", adjacency), ("attr", features))
        for part in ("data", "indices", "indptr", "shape")
    }
    np.savez(raw / "ms_academic_cs.npz", **parts, labels=ring % 3)


@pytest.mark.parametrize("place", ["pyg/Coauthor", "pyg", "Coauthor", "."])
def test_raw_files_are_found_as_pyg_lays_them_out_and_the_folder_stays_as_it_is(place: str, folders: Path):
    write_coauthor(folders / "raw" / place / "CS" / "raw")
    before = sorted((folders / "raw").rglob("*"))
    for _ in range(2):  # the second time from the cache
        data = load_graph("pyg:Coauthor/CS", seed=1)
        assert (data.num_nodes, data.num_features, data.num_classes) == (N, 4, 3)
        assert data.edge_index.shape == (2, 2 * N)
    assert sorted((folders / "raw").rglob("*")) == before


def test_processed_files_will_do_and_one_of_their_splits_is_taken(folders: Path):
    folder = folders / "raw" / "pyg" / "Actor" / "processed"
    folder.mkdir(parents=True)
    nodes = torch.arange(N)
    masks = {name: torch.stack([nodes < 0, nodes % 3 == part], dim=1) for part, name in enumerate(MASKS)}
    graph = Data(x=torch.ones(N, 2), edge_index=torch.tensor([[0, 1], [1, 0]]), y=nodes % 2, **masks)
    torch.save((graph.to_dict(), None, Data), folder / "data.pt")
    assert load_graph("pyg:Actor", seed=1, number=1).train_mask.tolist() == (nodes % 3 == 0).tolist()
    with pytest.raises(UserError, match=r"train_mask holds 2 splits; .*-s split=0 to split=1"):
        load_graph("pyg:Actor", seed=1)


def test_a_set_without_files_is_made():
    data = load_graph("pyg:KarateClub", seed=1, column="")
    assert (data.num_nodes, data.num_classes) == (34, 4)


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        ("pyg:Coautor/CS", r"PyG has no data set 'Coautor' \(did you mean Coauthor\?\); allowed: pyg:CLASS or"),
        ("pyg:", "PyG has no data set ''"),
        ("pyg:Coauthor", "got the name '', allowed: a name after it, as in pyg:Coauthor/CS"),
        ("pyg:Actor/x", "got the name 'x', allowed: pyg:Actor, which has no names"),
        ("pyg:Coauthor/Maths", r"PyG's class Coauthor could not make it \(AssertionError\)"),
    ],
)
def test_what_pyg_does_not_have_is_a_sentence(dataset: str, sentence: str):
    with pytest.raises(UserError, match=sentence):
        load_graph(dataset, seed=1)


def test_a_failed_download_is_a_sentence(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torch_geometric.datasets.coauthor.download_url", fail)
    sentence = r"it is not in .*pyg/Coauthor/CS/raw and could not be downloaded \(OSError: no route to host\): connect"
    with pytest.raises(UserError, match=sentence):
        load_graph("pyg:Coauthor/CS", seed=1)


def test_a_set_of_many_graphs_or_without_labels_is_refused():
    graph = Data(x=torch.ones(2, 1), edge_index=torch.zeros(2, 0, dtype=torch.long))
    with pytest.raises(UserError, match=r"pyg:X': it holds 2 graphs, allowed: a set of one"):
        pyg._take_graph("pyg:X", [graph, graph])
    with pytest.raises(UserError, match=r"pyg:X': its graph has no labels y"):
        pyg._take_graph("pyg:X", [graph])
