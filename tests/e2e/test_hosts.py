"""A deployment over a network: hosts in namespaces of their own, a slow link, a cable taken out, bytes counted."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fedsieve.deploy.layout import Layout
from tests.conftest import REAL_DATA
from tests.e2e.hosts import Hosts, Network, lacking, lacking_queue
from tests.e2e.test_deployment import LONG, ROOT, left_of, wait_for
from tests.helpers import rounds_of, simulated, summary_of

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hosts")]

NODES, ROUNDS = 3, 3
KEYS = {"algorithm": "fed-pub", "dataset": "cora", "num-clients": NODES, "seed": 3}

IDLE = 9.0
"""Seconds in which nodes that have nothing to do are listened to: each asks for work every 3."""

CUT = 15.0
"""Seconds for which a node is cut off: more than it takes to train, less than the SuperLink's patience of a minute."""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """A server and three nodes on hosts of their own, of which nothing is left."""
    if reason := lacking():
        pytest.skip(reason)
    if not REAL_DATA:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("FEDSIEVE_DATA is not set: no real data")
    folder = tmp_path_factory.mktemp("hosts")
    variables = {"PYTHONPATH": str(ROOT), "FEDSIEVE_DATA": REAL_DATA, "FEDSIEVE_CACHE": str(folder / "cache")}
    network = Network(NODES)
    here = Hosts(network, Layout(folder / "deployment"), variables)
    with ExitStack() as stack:
        stack.callback(network.remove)
        stack.callback(here.end)
        network.make()
        here.start()
        yield here
    assert left_of(folder) == []
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert not any(name in left for name in (network.server, *network.nodes))


def flags(num_rounds: int, out: Path) -> list[object]:
    keys = KEYS | {"num-rounds": num_rounds}
    return [word for key, value in keys.items() for word in (f"--{key}", value)] + ["--out", out, "--quiet"]


def counted(hosts: Hosts, meanwhile: Callable[[], object]) -> tuple[NDArray[np.int64], float]:
    """Return what all nodes' interfaces count while something is done, and the seconds that it takes."""
    before, began = hosts.network.counted(), time.monotonic()
    meanwhile()
    return hosts.network.counted() - before, time.monotonic() - began


def test_interfaces_count_what_the_summary_tells(hosts: Hosts, tmp_path: Path):
    """`pytest -s` shows the figures of docs/deployment.md."""

    def run(num_rounds: int) -> None:
        assert hosts.run(*flags(num_rounds, tmp_path / str(num_rounds))).wait(2 * LONG) == 0

    none, seconds_of_none = counted(hosts, lambda: run(0))
    idle, seconds_of_idle = counted(hosts, lambda: time.sleep(IDLE))
    some, seconds = counted(hosts, lambda: run(ROUNDS))
    summary = summary_of(tmp_path / str(ROUNDS))
    told = np.array([summary[f"{way}_bytes_per_client_round"] for way in ("uplink", "downlink")]) * NODES * ROUNDS
    longer = idle * (seconds - seconds_of_none) / seconds_of_idle
    found = some - none - longer
    for way, *row in zip(("sent", "received"), told, found[:, 0], found[:, 1], none[:, 0], longer[:, 0], strict=True):
        print("{}: summary {:.0f}, interfaces {:.0f} in {:.0f} frames; no rounds {}, longer {:.0f}".format(way, *row))
    assert (found[:, 0] > told).all(), "nothing is told that was not sent"
    assert found[:, 0].sum() < 1.1 * told.sum()


@pytest.mark.parametrize("link", ["tbf rate 10mbit burst 16kb latency 400ms", "netem delay 50ms loss 1% rate 10mbit"])
def test_a_node_that_is_cut_off_for_a_while_costs_time_and_no_number(
    link: str, hosts: Hosts, tmp_path: Path, real_data: Path
):
    if reason := lacking_queue(hosts.network, *link.split()):
        pytest.skip(f"neither delay nor loss: {reason}" if link.startswith("netem") else reason)
    hosts.network.shape(*link.split())
    found, lines = tmp_path / "found", tmp_path / "found" / "rounds.jsonl"
    running = hosts.run(*flags(ROUNDS, found))
    wait_for(lambda: lines.exists() and lines.read_text().count("\n") >= 1, "the first round")
    with hosts.network.cut(1):
        before = hosts.network.counted_at(1)[1, 0]
        time.sleep(CUT)
        assert hosts.network.counted_at(1)[1, 0] == before, "nothing reaches it"
        assert len(rounds_of(found)) < ROUNDS, "the run waits"
    assert running.wait(2 * LONG) == 0
    expected = simulated(tmp_path / "expected", KEYS | {"num-rounds": ROUNDS})
    for name in ("rounds.jsonl", "clients.csv"):
        assert (found / name).read_bytes() == (expected / name).read_bytes()
