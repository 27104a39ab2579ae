"""ogbn-arxiv (Hu et al. 2020), read with the package `ogb`."""

import contextlib
import io
import sys
from pathlib import Path

import numpy as np
import torch
from torch_geometric.data import Data
from torch_geometric.utils import to_undirected

from fedsieve.data.folders import load_cached, raw_folder
from fedsieve.errors import UserError

URL = "https://snap.stanford.edu/ogb/data/nodeproppred/arxiv.zip"
FOLDER = "ogb/ogbn_arxiv/raw"
FILES = ("edge.csv.gz", "node-feat.csv.gz", "node-label.csv.gz", "num-node-list.csv.gz", "num-edge-list.csv.gz")


def ogbn_arxiv() -> Data:
    """Return the citation graph made undirected, raw files in `ogb/ogbn_arxiv/raw`.

    The features are word embeddings with negative entries and stay as they are, as in FED-PUB's code: PyG's row
    normalisation would shift them all by their minimum. The time split that comes with the graph is not used.

    Raises `UserError` when `ogb` is not installed.
    """
    _import_ogb()
    raw = raw_folder("ogbn-arxiv", FOLDER, FILES, _download)
    return load_cached("ogbn-arxiv", raw, FILES, lambda _: _process(raw))


def _download(root: Path) -> Path:
    from ogb.utils.url import download_url, extract_zip

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        extract_zip(download_url(URL, str(root)), str(root))
    return root / "arxiv" / "raw"


def _process(raw: Path) -> Data:
    """Read the CSV files; ogb's own dataset class calls `torch.load` in a way that new versions of torch refuse."""
    from ogb.io.read_graph_raw import read_csv_graph_raw

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        graph = read_csv_graph_raw(str(raw))[0]
    labels = np.loadtxt(raw / "node-label.csv.gz", dtype=np.int64)
    return Data(
        x=torch.from_numpy(graph["node_feat"]),
        edge_index=to_undirected(torch.from_numpy(graph["edge_index"]), num_nodes=graph["num_nodes"]),
        y=torch.from_numpy(labels),
    )


def _import_ogb() -> None:
    """Import ogb while `outdated` is hidden, without which it does not ask PyPI for its newest version."""
    hide = "outdated" not in sys.modules
    if hide:
        sys.modules["outdated"] = None  # type: ignore[assignment]
    try:
        import ogb  # noqa: F401
    except ImportError as error:
        raise UserError(
            "The data set 'ogbn-arxiv' needs the package ogb: install fedsieve with its extra: pip install -e '.[ogb]'."
        ) from error
    finally:
        if hide:
            del sys.modules["outdated"]
