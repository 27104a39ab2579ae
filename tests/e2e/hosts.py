"""Hosts on one machine: network namespaces joined by veth to a bridge, and a deployment's programs in them."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedsieve.deploy.keys import make_keys
from fedsieve.deploy.layout import BIN, CONNECTION, CONTROL_PORT, FLEET_PORT, Deployment, Layout, Node, node_name
from fedsieve.deploy.processes import Running, end
from fedsieve.deploy.programs import QUIET, Program, environment, programs
from tests.e2e.test_deployment import wait_for

SERVER = "10.77.0.1"
LINK = "eth0"
"""A node's interface."""


class Network:
    """A server whose bridge has a port for each node, every host in a namespace of its own."""

    def __init__(self, num_nodes: int) -> None:
        self._prefix = f"fedsieve-{os.getpid()}"
        self.server = f"{self._prefix}-server"
        self.nodes = [f"{self._prefix}-{node_name(index)}" for index in range(num_nodes)]

    def make(self) -> None:
        """Join the nodes to the server; `subprocess.CalledProcessError` where the machine does not let us."""
        _do("ip", "netns", "add", self.server)
        _do("ip", "-n", self.server, "link", "set", "lo", "up")
        _do("ip", "-n", self.server, "link", "add", "bridge", "type", "bridge")
        _do("ip", "-n", self.server, "address", "add", f"{SERVER}/24", "dev", "bridge")
        _do("ip", "-n", self.server, "link", "set", "bridge", "up")
        for index, node in enumerate(self.nodes):
            _do("ip", "netns", "add", node)
            ends = (node, LINK), (self.server, f"port-{index}")
            _do("ip", "-n", node, "link", "add", LINK, "type", "veth", "peer", "name", ends[1][1], "netns", self.server)
            _do("ip", "-n", node, "address", "add", f"10.77.0.{10 + index}/24", "dev", LINK)
            _do("ip", "-n", self.server, "link", "set", ends[1][1], "master", "bridge")
            for namespace, link in ends:
                # an interface counts a packet before it is cut for the wire: let none be longer than a frame
                _do("ip", "-n", namespace, "link", "set", link, "up", "gso_max_segs", "1")
            _do("ip", "-n", node, "link", "set", "lo", "up")

    def remove(self) -> None:
        """Take the namespaces away, and with them all that is in them."""
        for namespace in (self.server, *self.nodes):
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)

    def shape(self, *queue: str) -> None:
        """Let all that nodes send and are sent pass through a queue: `tc qdisc`'s words."""
        for index, node in enumerate(self.nodes):
            for namespace, link in ((node, LINK), (self.server, f"port-{index}")):
                _do("tc", "-n", namespace, "qdisc", "replace", "dev", link, "root", *queue)

    @contextmanager
    def cut(self, index: int) -> Iterator[None]:
        """Take a node's cable out as long as this lasts."""
        port = "ip", "-n", self.server, "link", "set", f"port-{index}"
        _do(*port, "down")
        try:
            yield
        finally:
            _do(*port, "up")

    def counted(self) -> NDArray[np.int64]:
        """Return what the interfaces of all nodes count together."""
        return np.sum([self.counted_at(index) for index in range(len(self.nodes))], axis=0)

    def counted_at(self, index: int) -> NDArray[np.int64]:
        """Return bytes, headers included, and frames that a node's interface counts: rows sent, been sent."""
        (link,) = json.loads(_do("ip", "-n", self.nodes[index], "-s", "-j", "link", "show", LINK))
        return np.array([[link["stats64"][way][unit] for unit in ("bytes", "packets")] for way in ("tx", "rx")])


class Hosts:
    """A SuperLink, its superexec and the SuperNodes, each on its host, all online."""

    def __init__(self, network: Network, layout: Layout, variables: Mapping[str, str]) -> None:
        self.network, self.layout, self._variables = network, layout, variables
        self._running: dict[str, Running] = {}

    def start(self) -> None:
        """Start the programs of a trial, told that the server is at `SERVER`."""
        layout, num_nodes = self.layout, len(self.network.nodes)
        make_keys(layout.keys, num_nodes, [SERVER])
        for folder in (layout.logs, layout.runs, *(layout.node(index) for index in range(num_nodes))):
            folder.mkdir(parents=True)
        deployment = Deployment(FLEET_PORT, CONTROL_PORT, (Node(9094, None),) * num_nodes)
        deployment.write(layout)
        superlink, superexec, *nodes = programs(layout, deployment)
        here, there = f"127.0.0.1:{FLEET_PORT}", f"{SERVER}:{FLEET_PORT}"

        def start(namespace: str, program: Program) -> None:
            command = [word.replace(here, there) for word in program.command]
            self._start(namespace, program.name, command, program.environment)

        for program in (superlink, superexec):
            start(self.network.server, program)
        wait_for(self._answers, "the SuperLink")
        with ThreadPoolExecutor(2) as threads:
            keys = [layout.keys / f"{node_name(index)}.pub" for index in range(num_nodes)]
            assert all(threads.map(lambda key: self.flwr("supernode", "register", str(key))["success"], keys))
        for namespace, program in zip(self.network.nodes, nodes, strict=True):
            start(namespace, program)
        wait_for(lambda: self.online() == num_nodes, "all nodes")

    def end(self) -> None:
        """End exactly what was started, the nodes first, which take their leave of the server."""
        end({name: each for name, each in self._running.items() if name.startswith("node-")})
        end(self._running)

    def online(self) -> int:
        """Return how many nodes the SuperLink says are online."""
        return sum(node["status"] == "online" for node in self.flwr("supernode", "list")["nodes"])

    def flwr(self, *words: str) -> dict[str, Any]:
        """Ask Flower's own command line on the server."""
        command = [BIN / "flwr", *words, CONNECTION, "--format", "json"]
        return json.loads(
            _do(
                *inside(self.network.server, *command),
                env=environment({"FLWR_HOME": str(self.layout.flower.absolute())} | QUIET),
            )
        )

    def run(self, *flags: object) -> "subprocess.Popen[bytes]":
        """Submit a run on the server with `fedsieve deploy run`."""
        words = [BIN / "python", "-m", "fedsieve", "deploy", "run", self.layout.folder, *flags]
        return self._start(self.network.server, f"run-{len(self._running)}", words, {})

    def _start(
        self, namespace: str, name: str, command: Sequence[object], variables: Mapping[str, str]
    ) -> "subprocess.Popen[bytes]":
        with (self.layout.logs / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                inside(namespace, *command),
                env=environment({**self._variables, **variables}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._running[name] = Running.of(process.pid)
        return process

    def _answers(self) -> bool:
        try:
            return bool(self.flwr("supernode", "list")["success"])
        except (subprocess.CalledProcessError, ValueError):
            return False


def lacking() -> str:
    """Return why this machine lends no network namespaces, empty if it does."""
    if missing := [program for program in ("ip", "tc") if shutil.which(program) is None]:
        return f"no program {' and '.join(missing)} (iproute2)"
    network = Network(1)
    try:
        network.make()
    except subprocess.CalledProcessError as error:
        return f"no network namespaces here: {' '.join(error.cmd)}: {error.stderr.strip()}"
    finally:
        network.remove()
    return ""


def lacking_queue(network: Network, kind: str, *options: str) -> str:
    """Return why this kernel has no such queue, empty if it has."""
    try:
        _do("tc", "-n", network.server, "qdisc", "add", "dev", "lo", "root", kind, *options)
    except subprocess.CalledProcessError as error:
        return f"no tc {kind} in this kernel: {error.stderr.strip()}"
    _do("tc", "-n", network.server, "qdisc", "delete", "dev", "lo", "root")
    return ""


def inside(namespace: str, *words: object) -> list[str]:
    """Return the command that runs another in a namespace."""
    return ["ip", "netns", "exec", namespace, *map(str, words)]


def _do(*words: object, env: dict[str, str] | None = None) -> str:
    return subprocess.run([*map(str, words)], env=env, capture_output=True, text=True, check=True).stdout
