import importlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from torch_geometric.data import Data

from tests.helpers import simulated, write_graph

REAL_DATA = os.environ.get("FEDSIEVE_DATA")

settings.register_profile("fedsieve", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("fedsieve")


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test empty folders of its own, so that none writes where the user's own lie."""
    monkeypatch.setenv("FEDSIEVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FEDSIEVE_DATA", str(tmp_path / "raw"))
    monkeypatch.setenv("FEDSIEVE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "flwr"))
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "0")
    return tmp_path


@pytest.fixture
def drawn() -> None:
    """Let a run of this test draw its report, as every run does outside the tests."""


@pytest.fixture(autouse=True)
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare runs in this process the second that their report takes, unless the test asks for it by `drawn`."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("fedsieve.reports.ending.draw", lambda folder: None)


@pytest.fixture(autouse=True)
def imports(tmp_path: Path) -> Iterator[None]:
    """Forget what a test imported from its own folder: the next one may write another module of that name."""
    path, before = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        places = [getattr(module, "__file__", None), *(getattr(module, "__path__", None) or [])]
        if any(place and Path(place).is_relative_to(tmp_path) for place in places):
            del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture(autouse=True)
def log() -> Iterator[None]:
    """Put the package's log back as it was: the command line gives it handlers, and then no test could read it."""
    logger = logging.getLogger("fedsieve")
    before = logger.handlers, logger.level, logger.propagate
    yield
    logger.handlers, logger.level, logger.propagate = before


@pytest.fixture(autouse=True)
def global_generator() -> Iterator[None]:
    """Give each test the same state of torch's generator, and let none change the next one's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def real_data(folders: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point FEDSIEVE_DATA at the real data again; without them skip, and fail in CI."""
    if not REAL_DATA:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("FEDSIEVE_DATA is not set: no real data")
    monkeypatch.setenv("FEDSIEVE_DATA", REAL_DATA)
    return Path(REAL_DATA)


@pytest.fixture
def graph_file(tmp_path: Path) -> Path:
    """A user's own graph: 3 communities of 30 nodes, whose features and edges give the class away."""
    return write_graph(tmp_path / "own.npz")


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of small runs: `pub` and `alone`, which hold the same data, and `images`, of masks pruned for all."""
    root = tmp_path_factory.mktemp("runs")
    graph = write_graph(root / "own.npz", per_class=40)
    keys = {"dataset": str(graph), "num-clients": 5, "num-rounds": 3, "hidden-dim": 8, "fraction-train": 0.8}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDSIEVE_CACHE", str(root / "cache"))
        simulated(root / "pub", keys, algorithm="fed-pub")
        simulated(root / "alone", keys, algorithm="local")
        images = {"dataset": "digits", "num-clients": 4, "num-rounds": 2, "local-epochs": 1}
        simulated(root / "images", images, algorithm="hide-n-seek")
        yield root


@pytest.fixture
def odd_graph() -> Data:
    """Six nodes: directed edges, a cycle, and node 5 alone; 2 of 8 features not zero."""
    x = torch.zeros(6, 8)
    x[torch.arange(6), torch.arange(6)] = torch.tensor([1.0, -2.0, 0.5, 3.0, 1.5, -1.0])
    x[torch.arange(6), torch.tensor([7, 6, 0, 1, 7, 2])] = 0.25
    return Data(
        x=x,
        edge_index=torch.tensor([[0, 1, 2, 3, 0], [1, 2, 0, 2, 4]]),
        y=torch.tensor([0, 1, 2, 0, 1, 2]),
        train_mask=torch.tensor([1, 1, 1, 0, 0, 0], dtype=torch.bool),
        val_mask=torch.tensor([0, 0, 0, 1, 0, 0], dtype=torch.bool),
        test_mask=torch.tensor([0, 0, 0, 0, 1, 1], dtype=torch.bool),
    )
