from pathlib import Path

import pytest

from fedsieve.deploy import supervisor
from fedsieve.deploy.layout import Deployment, Layout, Node


def test_it_ends_the_nodes_before_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    layout = Layout(tmp_path)
    Deployment(1, 2, (Node(3, None),)).write(layout)
    ended: list[list[object]] = []
    monkeypatch.setattr(supervisor, "_end", lambda children: ended.append(list(children)))
    monkeypatch.setattr(supervisor.signal, "signal", lambda *_: None)
    one = supervisor.Supervisor(layout)
    one._children = {name: name for name in ("superlink", "node-0", "superexec")}  # type: ignore[misc]
    one._end()
    one.run()
    assert ended == [["node-0"], ["superlink", "superexec"]]
