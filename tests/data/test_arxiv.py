import gzip
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from fedsieve.data.arxiv import FILES, FOLDER
from fedsieve.data.graphs import load_graph
from fedsieve.data.split import MASKS
from fedsieve.errors import UserError

TINY = {
    "edge": "0,1\n1,2\n2,3\n3,4\n4,0\n1,0\n",
    "node-feat": "".join(f"{-node},{node / 2}\n" for node in range(5)),
    "node-label": "0\n1\n2\n1\n0\n",
    "num-node-list": "5\n",
    "num-edge-list": "6\n",
}


def write_raw(raw: Path) -> None:
    raw.mkdir(parents=True)
    for name, content in TINY.items():
        (raw / f"{name}.csv.gz").write_bytes(gzip.compress(content.encode()))


def test_raw_files_become_an_undirected_graph_with_a_random_split(folders: Path, capfd: pytest.CaptureFixture[str]):
    write_raw(folders / "raw" / FOLDER)
    data = load_graph("ogbn-arxiv", seed=1)
    ring = {(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)}
    assert {tuple(edge) for edge in data.edge_index.T.tolist()} == ring | {(b, a) for a, b in ring}
    assert data.num_edges == 10
    assert data.y.tolist() == [0, 1, 2, 1, 0]
    assert data.num_classes == 3
    assert torch.equal(data.x, torch.tensor([[-node, node / 2] for node in range(5)]))
    assert [int(data[name].sum()) for name in MASKS] == [1, 2, 2]
    assert capfd.readouterr() == ("", "")
    for file in FILES:
        (folders / "raw" / FOLDER / file).touch()
    again = load_graph("ogbn-arxiv", seed=1)
    assert torch.equal(data.edge_index, again.edge_index)


def test_the_download_is_unpacked_into_the_data_folder(folders: Path, monkeypatch: pytest.MonkeyPatch):
    def download(url: str, folder: str) -> str:
        write_raw(folders / "server" / "arxiv" / "raw")
        with zipfile.ZipFile(Path(folder) / "arxiv.zip", "w") as archive:
            for file in FILES:
                archive.write(folders / "server" / "arxiv" / "raw" / file, f"arxiv/raw/{file}")
        return str(Path(folder) / "arxiv.zip")

    monkeypatch.setattr("ogb.utils.url.download_url", download)
    assert load_graph("ogbn-arxiv", seed=1).num_nodes == 5
    assert sorted(path.name for path in (folders / "raw" / FOLDER).iterdir()) == sorted(FILES)


def test_without_network_one_sentence_says_where_the_files_belong(folders: Path, monkeypatch: pytest.MonkeyPatch):
    def offline(url: str, folder: str) -> str:
        raise OSError("offline")

    monkeypatch.setattr("ogb.utils.url.download_url", offline)
    with pytest.raises(UserError, match=r"'ogbn-arxiv' is not in .*ogbn_arxiv/raw and.*OSError: offline.*edge.csv.gz"):
        load_graph("ogbn-arxiv", seed=1)


def test_without_the_package_one_sentence_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ogb", None)
    with pytest.raises(UserError, match=r"'ogbn-arxiv' needs the package ogb: install .* pip install -e '\.\[ogb\]'"):
        load_graph("ogbn-arxiv", seed=1)
