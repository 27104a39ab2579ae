"""The programs of a trial: command lines and environments of a SuperLink, its superexec and the SuperNodes."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedsieve.deploy.layout import BIN, Deployment, Layout, Node, node_name
from fedsieve.deploy.local_only import exempt_local_from_proxy

QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1"}
"""Nothing is reported to Flower's makers, and no second torch is fetched."""

POLL = {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2"}
"""Seconds between two looks of a SuperExec for work; Flower's own are 1."""


@dataclass(frozen=True)
class Program:
    """A process to be kept running; with `after`, from the moment on that this file exists."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    after: Path | None = None


def programs(layout: Layout, deployment: Deployment) -> list[Program]:
    """Return the trial's programs: the server's two, then the nodes, which wait until all are registered."""
    server = {"FLWR_HOME": str(layout.flower)} | QUIET
    nodes = [_describe_node(layout, deployment, index, node) for index, node in enumerate(deployment.nodes)]
    return [
        Program("superlink", _build_superlink_command(layout, deployment), server),
        Program("superexec", _build_superexec_command(layout, deployment), server | POLL),
        *nodes,
    ]


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with `changes`; Flower looks for its own programs on the path.

    Local connections use no proxy.
    """
    path = f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return exempt_local_from_proxy(os.environ) | dict(changes) | {"PATH": path}


def _build_superlink_command(layout: Layout, deployment: Deployment) -> tuple[str, ...]:
    keys = layout.keys
    return (
        str(BIN / "flower-superlink"),
        *("--ssl-ca-certfile", str(keys / "ca.crt")),
        *("--ssl-certfile", str(keys / "server.crt"), "--ssl-keyfile", str(keys / "server.key")),
        "--enable-supernode-auth",
        *("--database", str(layout.database)),
        *("--isolation", "process"),
        "--disable-runtime-dependency-installation",
        *("--fleet-api-type", "grpc-rere", "--fleet-api-address", f"127.0.0.1:{deployment.fleet_port}"),
        *("--host", "127.0.0.1", "--port", str(deployment.control_port)),
    )


def _build_superexec_command(layout: Layout, deployment: Deployment) -> tuple[str, ...]:
    return (
        *(sys.executable, "-m", "fedsieve.deploy.superexec"),
        *("--runtime-api-address", f"127.0.0.1:{deployment.control_port}"),
        *("--root-certificates", str(layout.keys / "ca.crt")),
    )


def _describe_node(layout: Layout, deployment: Deployment, index: int, node: Node) -> Program:
    config = f"partition-id={index} num-partitions={len(deployment.nodes)}"
    if node.data is not None:
        config += f' data="{node.data}"'
    command = (
        *(sys.executable, "-m", "fedsieve.deploy.supernode"),
        *("--root-certificates", str(layout.keys / "ca.crt")),
        *("--auth-supernode-private-key", str(layout.keys / node_name(index))),
        "--grpc-rere",
        *("--superlink", f"127.0.0.1:{deployment.fleet_port}"),
        *("--host", "127.0.0.1", "--port", str(node.port)),
        *("--node-config", config),
    )
    folder = layout.node(index)
    variables = {"FLWR_HOME": str(folder / "flower"), "FEDSIEVE_STATE": str(folder / "state")} | QUIET | POLL
    return Program(node_name(index), command, variables, after=layout.registered)
