from pathlib import Path

import pytest

from fedsieve.deploy.layout import Deployment, Layout, Node
from tests.helpers import fedsieve


def test_keys_are_named_and_flwr_is_told_where_the_superlink_will_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert fedsieve("deploy", "keys", tmp_path, "--nodes", 1, "--san", "fl.example.org") == 0
    assert capsys.readouterr().out.endswith("ca.key, ca.crt, server.key, server.crt, node-0, node-0.pub.\n")
    assert 'address = "127.0.0.1:9093"' in (tmp_path / "flower" / "config.toml").read_text()
    assert fedsieve("deploy", "keys", tmp_path, "--nodes", 1) == 2
    told = capsys.readouterr().err
    assert told.startswith("fedsieve: ")
    assert "never overwritten" in told


def test_a_deployment_that_is_down_fails_its_status_and_not_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    Deployment(1, 2, (Node(3, None),)).write(Layout(tmp_path))
    assert fedsieve("deploy", "status", tmp_path) == 1
    assert "not running" in capsys.readouterr().out
    assert fedsieve("deploy", "down", tmp_path) == 0
    assert capsys.readouterr().out == f"Nothing of {tmp_path} was running.\n"


@pytest.mark.parametrize("command", ["status", "down", "run"])
def test_a_folder_that_is_no_deployments_is_a_users_mistake(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert fedsieve("deploy", command, tmp_path / "other") == 2
    assert "allowed: a folder of fedsieve deploy" in capsys.readouterr().err
