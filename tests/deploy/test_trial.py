import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedsieve.deploy import trial
from fedsieve.deploy.control import Link
from fedsieve.deploy.keys import make_keys
from fedsieve.deploy.layout import Deployment, Layout, Node, read_deployment
from fedsieve.deploy.processes import Running, write_running
from fedsieve.deploy.submit import name_by_data
from fedsieve.deploy.trial import State, check_server_runs, describe_node, down, is_healthy, states, up
from fedsieve.errors import RunFailedError, UserError
from tests.helpers import config


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["a.npz"], r"^--data: got 1 paths for 2 nodes, allowed: one a node, or none\.$"),
        (["a.npz", "b.npz"], r"^--data: .*b\.npz does not exist\.$"),
        (["a.npz", 'a".npz'], r"^--data: got '.*a\".npz', allowed: a path without quotation marks\.$"),
    ],
)
def test_data_that_cannot_be_the_nodes_are_told_before_anything_is_made(
    names: list[str], sentence: str, tmp_path: Path
):
    for name in ("a.npz", 'a".npz'):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=sentence):
        up(Layout(tmp_path / "trial"), 2, [str(tmp_path / name) for name in names])
    assert not (tmp_path / "trial").exists()


def test_a_key_that_was_carried_away_is_told_before_anything_is_started(tmp_path: Path):
    layout = Layout(tmp_path)
    make_keys(layout.keys, 2)
    (layout.keys / "node-1").unlink()
    with pytest.raises(UserError, match=r"node-1: is not there, allowed: a folder of fedsieve deploy keys"):
        up(layout, None)
    assert not layout.processes.exists()


def test_a_trial_that_is_down_is_told_as_such(tmp_path: Path):
    layout = Layout(tmp_path)
    deployment = Deployment(1, 2, (Node(3, None), Node(4, "/data/graph.npz")))
    deployment.write(layout)
    assert read_deployment(layout) == deployment
    found = states(layout)
    assert [state.name for state in found] == ["supervisor", "superlink", "superexec", "node-0", "node-1"]
    assert {state.pid for state in found} == {None}
    assert not is_healthy(found)
    assert down(layout) == 0


@pytest.mark.parametrize(
    ("pid", "link", "healthy"),
    [
        (7, "online since 2026-11-24", True),
        (7, "offline since 2026-11-24", False),
        (7, "registered", False),
        (None, "online since 2026-11-24", False),
    ],
)
def test_a_trial_is_well_when_each_process_runs_and_each_node_is_online(pid: int | None, link: str, healthy: bool):
    server = State("superlink", 5, 1.0, 1, "running")
    assert is_healthy([server, State("node-0", pid, 1.0, 1, link)]) is healthy


def test_a_folder_that_holds_no_trial_is_one_sentence(tmp_path: Path):
    with pytest.raises(UserError, match=r"deployment.json: is not there or not readable, allowed: a folder of"):
        states(Layout(tmp_path / "other"))


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


@pytest.mark.parametrize(
    ("link", "words"),
    [
        (("online", 60), "online since"),
        (("online", -60), "starting"),  # as the SuperLink remembers it from before
        (("offline", -50), "starting"),
        (("offline", 90), "cut off since"),
        (("registered", None), "starting"),
        (None, "starting"),
    ],
)
def test_of_a_node_only_what_came_after_its_start_is_believed(link: tuple[str, float | None] | None, words: str):
    here = Running.of(os.getpid())
    said = link and Link(7, link[0], "" if link[1] is None else moment(here.created + link[1]))
    assert describe_node(here, said).startswith(words)


def test_a_node_that_has_ended_is_killed_or_cut_off_whatever_the_superlink_says():
    gone = Running(os.getpid(), 1.0)
    assert describe_node(gone, Link(7, "online", moment(time.time()))) == "killed or cut off"
    assert describe_node(None, None) == "not running"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "the supervisor has ended: ImportError: no flwr; see"),
        ({"supervisor": (os.getpid(), 1.0, 1)}, "the supervisor has ended: ImportError: no flwr; see"),
        ({"superlink": (os.getpid(), 1.0, 1)}, "the superlink has ended; see"),
        ({"superlink": (os.getpid(), None, 2)}, "the superlink has ended; see"),
    ],
)
def test_what_has_ended_is_said_at_once_with_its_logs_last_line(
    wrong: dict[str, tuple[int, float | None, int]], said: str, tmp_path: Path
):
    layout = Layout(tmp_path)
    layout.logs.mkdir()
    (layout.logs / "supervisor.log").write_text("an earlier start\nTraceback\n\x1b[91mImportError\x1b[0m: no flwr.\n\n")
    (layout.logs / "superlink.log").write_text("an earlier start\n")
    here = Running.of(os.getpid())
    running = {"supervisor": here} if wrong else {}
    for name, (pid, created, starts) in wrong.items():
        running[name] = Running(pid, created or here.created, starts)
    write_running(layout.processes, running)
    with pytest.raises(RunFailedError, match=f"^{said} .*log\\.$"):
        check_server_runs(layout, {"supervisor": 17, "superlink": 17})


def test_a_supervisor_that_crashes_ends_up_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    popen = subprocess.Popen
    crash = [sys.executable, "-c", "raise SystemExit('no more processes')"]
    monkeypatch.setattr("fedsieve.deploy.trial.subprocess.Popen", lambda _command, **options: popen(crash, **options))
    with pytest.raises(RunFailedError, match=r"^the supervisor has ended: no more processes; see .*supervisor\.log"):
        up(Layout(tmp_path), 1)


def test_a_name_goes_before_a_folder_called_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "cora").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trial, "_start_supervisor", lambda _: (_ for _ in ()).throw(RunFailedError("enough")))
    with pytest.raises(RunFailedError, match="enough"):
        up(Layout(tmp_path / "trial"), 3, ["cora", "./cora", "digits"])
    nodes = read_deployment(Layout(tmp_path / "trial")).nodes
    assert [node.data for node in nodes] == ["cora", str(tmp_path / "cora"), "digits"]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ((None, None), "fed-pub-cora-2"),
        (("a.npz", "b.npz"), "fed-pub-own-data-2"),
        (("a.npz", None), "fed-pub-own-data-and-cora-2"),
        ((), "fed-pub-2"),  # of real hosts nobody knows before they are asked
    ],
)
def test_a_runs_folder_is_named_by_what_it_is_run_on(data: Sequence[str | None], name: str, tmp_path: Path):
    layout = Layout(tmp_path)
    if data:
        Deployment(1, 2, tuple(Node(port, path) for port, path in enumerate(data))).write(layout)
    found = name_by_data(layout, config(algorithm="fed-pub", dataset="cora", num_clients=2))
    assert found.name.startswith(name)
