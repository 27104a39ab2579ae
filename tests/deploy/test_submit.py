from collections.abc import Iterator
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk
from flwr.common.config import get_fused_config_from_dir

from fedsieve.config import parse
from fedsieve.deploy import submit as submitting
from fedsieve.deploy.control import Link, RunStatus
from fedsieve.deploy.keys import make_keys
from fedsieve.deploy.layout import CONTROL_PORT, Layout, write_connection
from fedsieve.deploy.submit import submit, write_app
from fedsieve.errors import RunFailedError
from tests.helpers import ALGORITHMS, config


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_nodes_read_the_configuration_that_was_submitted(algorithm: str, tmp_path: Path):
    run = config(algorithm=algorithm, dataset="digits", num_clients=4, lr=0.003, out=str(tmp_path / "a folder"))
    write_app(tmp_path, run)
    assert build_fab_from_disk(tmp_path)
    assert parse(get_fused_config_from_dir(tmp_path, {})) == run


class SuperLink:
    """Stands in for a SuperLink: one node is online, and a run is pending, then running, then finished."""

    def __init__(self) -> None:
        self.dataset = ""
        self._statuses = [RunStatus("pending"), RunStatus("running"), RunStatus("finished", "completed")]
        self._log = [("fed-avg round 1/2: ", 1.0), ("val 50.0 %\nfed-avg rou", 2.0), ("nd 2/2: val 60.0 %\n", 3.0)]

    def list_nodes(self, _: Layout) -> list[Link]:
        return [Link(7, "online", "2026-11-28T12:00:00+00:00")]

    def start_run(self, _: Layout, app: Path) -> int:
        self.dataset = str(get_fused_config_from_dir(app, {})["dataset"])
        return 1

    def read_status(self, _: Layout, run_id: int) -> RunStatus:
        assert run_id == 1
        return self._statuses.pop(0)

    def stream_log(self, _: Layout, run_id: int, after: float) -> Iterator[tuple[str, float]]:
        """Yield what there is, but break off after the second piece, as when a SuperLink is killed."""
        for text, moment in self._log:
            if moment > after:
                yield text, moment
            if after == 0.0 and moment == 2.0:
                self._statuses.insert(0, RunStatus("running"))
                raise RunFailedError("the SuperLink has gone away")


@pytest.fixture
def superlink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SuperLink:
    """A deployment in the folder `d`, its SuperLink a fake."""
    layout, fake = Layout(tmp_path / "d"), SuperLink()
    make_keys(layout.keys, 1)
    write_connection(layout, CONTROL_PORT)
    for name in ("list_nodes", "start_run", "read_status", "stream_log"):
        monkeypatch.setattr(submitting, name, getattr(fake, name))
    monkeypatch.setattr(submitting, "PAUSE", 0.0)
    return fake


def test_what_is_waited_for_is_said_as_it_happens(superlink: SuperLink, tmp_path: Path):
    lines: list[str] = []
    run = config(algorithm="fed-avg", num_clients=1, num_rounds=1, out=str(tmp_path / "run"))
    submit(Layout(tmp_path / "d"), run, show=lines.append)
    assert lines == [
        "fed-avg submits the run to the SuperLink",
        "fed-avg waits for the SuperExec to begin it",
        "fed-avg waits for its ServerApp, which loads its libraries",
        "fed-avg round 1/2: val 50.0 %",
        "fed-avg round 2/2: val 60.0 %",
    ]


@pytest.mark.parametrize("given", ["cora", "./cora", "digits"])
def test_a_data_sets_name_goes_before_a_folder_called_alike(
    given: str, superlink: SuperLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("cora", "digits"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    submit(Layout(tmp_path / "d"), config(num_clients=1, dataset=given, out=str(tmp_path / "run")))
    assert superlink.dataset == (str(tmp_path / "cora") if given == "./cora" else given)
