from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.cli.build import build_fab_from_disk
from flwr.common.config import get_fused_config_from_dir

from fedsieve.config import parse
from fedsieve.deploy import submit as submitting
from fedsieve.deploy.keys import make_keys
from fedsieve.deploy.layout import CONTROL_PORT, Layout, write_connection
from fedsieve.deploy.submit import submit, write_app
from tests.helpers import ALGORITHMS, config


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_nodes_read_the_configuration_that_was_submitted(algorithm: str, tmp_path: Path):
    run = config(algorithm=algorithm, dataset="digits", num_clients=4, lr=0.003, out=str(tmp_path / "a folder"))
    write_app(tmp_path, run)
    assert build_fab_from_disk(tmp_path)
    assert parse(get_fused_config_from_dir(tmp_path, {})) == run


class Flwr:
    """Stands in for Flower's command line: one node is online, and a run is pending, then running, then finished."""

    def __init__(self) -> None:
        self.dataset = ""
        self._statuses = ["pending", "running", "finished:completed"]

    def __call__(self, _layout: Layout, *words: str) -> dict[str, Any]:
        if words[0] == "supernode":
            return {"nodes": [{"node-id": "7", "status": "online"}]}
        if words[0] == "run":
            self.dataset = str(get_fused_config_from_dir(Path(words[1]), {})["dataset"])
            return {"run-id": "1"}
        return {"runs": [{"status": self._statuses.pop(0), "status-details": ""}]}


@pytest.fixture
def flwr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flwr:
    """A deployment in the folder `d`, its SuperLink a fake."""
    layout, fake = Layout(tmp_path / "d"), Flwr()
    make_keys(layout.keys, 1)
    write_connection(layout, CONTROL_PORT)

    def stream(_layout: Layout, _run_id: str, seen: int, show: Callable[[str], None]) -> int:
        show("fed-avg round 1/1: val 50.0 %") if not seen else None
        return 1 - seen

    monkeypatch.setattr(submitting, "flwr", fake)
    monkeypatch.setattr(submitting, "_stream", stream)
    monkeypatch.setattr(submitting, "PAUSE", 0.0)
    return fake


def test_what_is_waited_for_is_said_as_it_happens(flwr: Flwr, tmp_path: Path):
    lines: list[str] = []
    run = config(algorithm="fed-avg", num_clients=1, num_rounds=1, out=str(tmp_path / "run"))
    submit(Layout(tmp_path / "d"), run, show=lines.append)
    assert lines == [
        "fed-avg submits the run to the SuperLink",
        "fed-avg waits for the SuperExec to begin it",
        "fed-avg waits for its ServerApp, which loads its libraries",
        "fed-avg round 1/1: val 50.0 %",
    ]


@pytest.mark.parametrize("given", ["cora", "./cora", "digits"])
def test_a_data_sets_name_goes_before_a_folder_called_alike(
    given: str, flwr: Flwr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("cora", "digits"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    submit(Layout(tmp_path / "d"), config(num_clients=1, dataset=given, out=str(tmp_path / "run")))
    assert flwr.dataset == (str(tmp_path / "cora") if given == "./cora" else given)
