from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.datasets import Amazon, Planetoid

from fedsieve.data.graphs import load_graph
from fedsieve.data.split import MASKS, Split
from fedsieve.errors import UserError

REAL = {  # nodes, directed edges, features, classes of the whole graph; nodes of its largest component
    "cora": (2708, 10556, 1433, 7, 2485),
    "citeseer": (3327, 9104, 3703, 6, 2120),
    "photo": (7650, 238162, 745, 8, 7487),
    "computers": (13752, 491722, 767, 10, 13381),
}


@pytest.mark.parametrize("name", REAL)
def test_real_graphs_are_whole_or_cut_to_the_largest_component(name: str, real_data: Path):
    nodes, edges, features, classes, component = REAL[name]
    whole = load_graph(name, seed=42, largest_component=False)
    assert (whole.num_nodes, whole.num_edges, whole.num_features, whole.num_classes) == (
        nodes,
        edges,
        features,
        classes,
    )
    assert whole.is_undirected()
    sums = whole.x.sum(dim=1)
    assert torch.allclose(sums[sums > 0], torch.ones(()), atol=1e-5)
    cut = load_graph(name, seed=42)
    assert cut.num_nodes == component
    sizes = [int(cut[mask].sum()) for mask in MASKS]
    assert sizes == [
        round(0.2 * component),
        component - round(0.2 * component) - round(0.4 * component),
        round(0.4 * component),
    ]


def listing(folder: Path) -> list[tuple[str, float]]:
    return sorted((str(path), path.stat().st_mtime) for path in folder.rglob("*"))


def test_a_data_folder_that_has_the_files_is_only_read(real_data: Path, folders: Path):
    before = listing(real_data / "pyg")
    first = load_graph("cora", seed=1)
    assert listing(real_data / "pyg") == before
    assert [path.name.split("-")[0] for path in (folders / "cache" / "graphs").iterdir()] == ["cora"]
    again = load_graph("cora", seed=1)
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.edge_index, again.edge_index)


def write_photo(dataset: Amazon) -> None:
    """Write what PyG downloads for Photo, but small: a path of 20 nodes of two classes."""
    write_path(Path(dataset.raw_dir), 20)


def write_path(raw: Path, num_nodes: int) -> None:
    raw.mkdir(parents=True, exist_ok=True)
    matrices = {"attr": sp.csr_matrix(np.tri(num_nodes, 4)), "adj": sp.csr_matrix(np.eye(num_nodes, k=1))}
    parts = {
        f"{name}_{part}": getattr(matrix, part)
        for name, matrix in matrices.items()
        for part in ("data", "indices", "indptr", "shape")
    }
    np.savez(raw / "amazon_electronics_photo.npz", **parts, labels=np.arange(num_nodes) % 2)


def test_missing_files_are_downloaded_once_into_the_data_folder(folders: Path, monkeypatch: pytest.MonkeyPatch):
    downloads = []
    monkeypatch.setattr(Amazon, "download", lambda self: (downloads.append(1), write_photo(self)))
    first = load_graph("photo", seed=1)
    again = load_graph("photo", seed=1, split=Split(0.5, 0.25))
    assert downloads == [1]
    assert (folders / "raw/pyg/Photo/raw/amazon_electronics_photo.npz").is_file()
    assert first.num_nodes == again.num_nodes == 20
    assert first.edge_index.shape == (2, 38)
    assert torch.equal(first.x[1], torch.tensor([0.5, 0.5, 0, 0]))
    assert int(again.train_mask.sum()) == 10
    assert not list(folders.rglob(".*"))


def test_a_read_only_data_folder_sends_the_download_to_the_cache(folders: Path, monkeypatch: pytest.MonkeyPatch):
    (folders / "file").write_text("no folder can be made below a file, not even by root")
    monkeypatch.setenv("FEDSIEVE_DATA", str(folders / "file"))
    monkeypatch.setattr(Amazon, "download", write_photo)
    assert load_graph("photo", seed=1).num_nodes == 20
    monkeypatch.delattr(Amazon, "download")
    assert load_graph("photo", seed=1).num_nodes == 20


def test_without_network_and_files_one_sentence_says_what_to_do(folders: Path, monkeypatch: pytest.MonkeyPatch):
    def offline(self: Planetoid) -> None:
        (Path(self.raw_dir) / "ind.cora.x").write_text("half a download")
        raise URLError("no route to host")

    monkeypatch.setattr(Planetoid, "download", offline)
    folder = folders / "raw/pyg/Cora/raw"
    with pytest.raises(UserError, match=rf"'cora' is not in {folder} and.*no route to host.*ind.cora.x") as caught:
        load_graph("cora", seed=1)
    assert "\n" not in str(caught.value)
    assert not folder.exists(), "a failed download leaves nothing behind"


def test_other_raw_files_make_another_graph(folders: Path):
    raw = folders / "raw/pyg/Photo/raw"
    write_path(raw, 20)
    assert load_graph("photo", seed=1).num_nodes == 20
    write_path(raw, 30)
    assert load_graph("photo", seed=1).num_nodes == 30


def test_damaged_raw_files_are_named(folders: Path):
    raw = folders / "raw/pyg/Photo/raw"
    raw.mkdir(parents=True)
    (raw / "amazon_electronics_photo.npz").write_bytes(b"PK half a file")
    with pytest.raises(UserError, match=rf"raw files of 'photo' in {raw} could not be read.*delete them"):
        load_graph("photo", seed=1)


def test_pubmed_reads_its_own_files(folders: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def offline(self: Planetoid) -> None:
        asked.append((self.name, Path(self.raw_dir).parts[-2:]))
        raise OSError("offline")

    monkeypatch.setattr(Planetoid, "download", offline)
    with pytest.raises(UserError, match=r"pyg/PubMed/raw.*ind.pubmed.test.index"):
        load_graph("pubmed", seed=1)
    assert asked == [("PubMed", ("PubMed", "raw"))]
