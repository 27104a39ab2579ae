from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import simulated, write_graph


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
def folder(tmp_path: Path) -> Path:
    """A made-up run of two rounds and 300 clients, whose names are as nasty as they can be."""
    from tests.reports.made_up import write_run

    return write_run(tmp_path / "made-up", clients=300)
