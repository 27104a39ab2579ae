"""Cora, CiteSeer, PubMed, Photo and Computers, read by PyG's own classes."""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch_geometric.data import Data
from torch_geometric.transforms import NormalizeFeatures

from fedsieve.data.folders import load_cached, raw_folder


@dataclass(frozen=True)
class Published:
    """One graph of PyG's, its raw files in `pyg/<folder>/raw`.

    `family` names the class in `torch_geometric.datasets`; it is imported only when there is something to process.
    """

    family: str
    folder: str
    files: tuple[str, ...]

    def load(self) -> Data:
        """Return the whole graph without masks, each row of features divided by its sum."""
        name = self.folder.lower()
        raw = raw_folder(name, f"pyg/{self.folder}/raw", self.files, self._download)
        data = load_cached(name, raw, self.files, lambda root: self._process(root, raw))
        graph = Data(x=data.x, edge_index=data.edge_index, y=data.y)
        return NormalizeFeatures()(graph)

    def _download(self, root: Path) -> Path:
        self._open(root)
        return root / self.folder / "raw"

    def _process(self, root: Path, raw: Path) -> Data:
        (root / self.folder).mkdir()
        (root / self.folder / "raw").symlink_to(raw.resolve(), target_is_directory=True)
        return self._open(root)[0]

    def _open(self, root: Path) -> Any:
        import torch_geometric.datasets

        with contextlib.redirect_stderr(io.StringIO()):  # PyG prints its progress
            return getattr(torch_geometric.datasets, self.family)(str(root), self.folder)


def planetoid(folder: str) -> Callable[[], Data]:
    """Return the loader of a citation graph (Yang et al. 2016)."""
    parts = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
    return Published("Planetoid", folder, tuple(f"ind.{folder.lower()}.{part}" for part in parts)).load


def amazon(folder: str) -> Callable[[], Data]:
    """Return the loader of a co-purchase graph (Shchur et al. 2018)."""
    return Published("Amazon", folder, (f"amazon_electronics_{folder.lower()}.npz",)).load
