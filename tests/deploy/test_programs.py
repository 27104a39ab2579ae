import re
from pathlib import Path

import pytest
import yaml

from fedsieve.deploy.layout import CONTROL_PORT, FLEET_PORT, Deployment, Layout, Node
from fedsieve.deploy.programs import programs

DEPLOY = Path(__file__).parents[2] / "deploy"
TRIAL = {
    program.name: program
    for program in programs(Layout(Path("/trial")), Deployment(1, 2, (Node(3, None), Node(4, "/a b/graph.pt"))))
}
NAMES = {"superlink": "superlink", "superexec": "superexec", "supernode": "node-0"}


def flags(command: str) -> set[str]:
    return set(re.findall(r"--[a-z-]+", command))


@pytest.mark.parametrize("name", NAMES)
def test_real_hosts_and_a_trial_start_a_program_with_the_same_flags(name: str):
    unit = (DEPLOY / f"fedsieve-{name}.service").read_text()
    command = unit.partition("ExecStart=")[2].partition("\nRestart=")[0]
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"][name]
    expected = flags(" ".join(TRIAL[NAMES[name]].command))
    assert flags(command) == expected
    assert flags(str(service["command"])) == expected
    for variable in set(TRIAL[NAMES[name]].environment) - {"FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"}:
        assert f"Environment={variable}=" in unit
        assert variable in service["environment"]


def test_real_hosts_use_the_ports_that_deploy_keys_tells_flwr():
    unit = (DEPLOY / "fedsieve-superlink.service").read_text()
    assert f"--fleet-api-address 0.0.0.0:{FLEET_PORT} --host 127.0.0.1 --port {CONTROL_PORT}" in unit


def test_a_node_is_told_who_it_is_and_where_its_own_data_are():
    told = [TRIAL[name].command[TRIAL[name].command.index("--node-config") + 1] for name in ("node-0", "node-1")]
    assert told == ["partition-id=0 num-partitions=2", 'partition-id=1 num-partitions=2 data="/a b/graph.pt"']
