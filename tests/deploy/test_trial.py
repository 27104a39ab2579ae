from pathlib import Path

import pytest

from fedsieve.deploy.keys import make_keys
from fedsieve.deploy.layout import Deployment, Layout, Node, read_deployment
from fedsieve.deploy.trial import State, down, is_healthy, states, up
from fedsieve.errors import UserError


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
