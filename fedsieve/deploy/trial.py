"""A trial on this machine: SuperLink and SuperNodes with TLS and node keys, started, looked at and ended."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from fedsieve.deploy.flower import flwr
from fedsieve.deploy.keys import count_keys, make_keys
from fedsieve.deploy.layout import Deployment, Layout, Node, node_name, read_deployment
from fedsieve.deploy.processes import SUPERVISOR, Running, end, read_running, write_running
from fedsieve.errors import RunFailedError, UserError
from fedsieve.files import write_whole
from fedsieve.paths import absolute, expanded

NODES = 3
LOOK = 0.2
"""Seconds between two looks whether something has come up."""


@dataclass(frozen=True)
class State:
    """What is known of one program of a trial.

    Attributes:
        pid: of the process, None where there is none.
        since: when that process was created, in seconds since 1970.
        starts: how often it has been started.
        link: what the SuperLink says of a node, and since when: online, offline or registered; of a server's program,
            whether it runs.
    """

    name: str
    pid: int | None
    since: float | None
    starts: int
    link: str


def up(
    layout: Layout,
    num_nodes: int | None,
    data: Sequence[str] = (),
    *,
    timeout: float = 120.0,
    progress: Callable[[str], None] = lambda _: None,
) -> list[State]:
    """Start a trial, wait until every node is online, and return the state of all.

    Args:
        layout: where; keys are made if there are none.
        num_nodes: None: as many as have keys, or `NODES`.
        data: of each node, in order, its own file or folder; empty: each run's data set is dealt to the nodes.
        timeout: seconds for all to come up.
        progress: told what is waited for.

    Raises:
        UserError: the trial is up already, or keys or data are missing.
        RunFailedError: something did not come up in time; all that was started has ended.
    """
    if any(each.process() for each in read_running(layout.processes).values()):
        raise UserError(f"{layout.folder}: is up already, allowed: fedsieve deploy down {layout.folder} before.")
    keys = count_keys(layout.keys)
    num_nodes = num_nodes or keys or NODES
    if data and len(data) != num_nodes:
        raise UserError(f"--data: got {len(data)} paths for {num_nodes} nodes, allowed: one a node, or none.")
    if missing := [path for path in data if not expanded(path).exists()]:
        raise UserError(f"--data: {missing[0]} does not exist.")
    if unfit := [path for path in data if '"' in path]:
        raise UserError(f"--data: got {unfit[0]!r}, allowed: a path without quotation marks.")
    if keys < num_nodes:
        make_keys(layout.keys, num_nodes)
    private = [layout.keys / name for name in ("server.key", *map(node_name, range(num_nodes)))]
    if gone := [path for path in private if not path.exists()]:
        raise UserError(
            f"{gone[0]}: is not there, allowed: a folder of fedsieve deploy keys with all its private keys."
        )
    try:
        for folder in (layout.logs, layout.runs, *(layout.node(index) for index in range(num_nodes))):
            folder.mkdir(parents=True, exist_ok=True)
        fleet, control, *ports = _free_ports(num_nodes + 2)
        own: list[str | None] = [str(absolute(path)) for path in data]
        own = own or [None] * num_nodes
        nodes = tuple(Node(port, path) for port, path in zip(ports, own, strict=True))
        deployment = Deployment(fleet, control, nodes)
        deployment.write(layout)
    except OSError as error:
        raise UserError(f"{layout.folder}: cannot be written: {error.strerror}.") from error
    until = time.monotonic() + timeout
    try:
        _start_supervisor(layout)
        progress("the SuperLink")
        _wait(lambda: _listens(control), layout, until, "the SuperLink does not answer")
        _register(layout, num_nodes)
        progress("the nodes")
        _wait(lambda: _online(layout, num_nodes), layout, until, "not all nodes are online")
    except BaseException:
        down(layout)
        raise
    return states(layout)


def down(layout: Layout) -> int:
    """End exactly the trial's processes, and return how many of its programs were running."""
    ended = end(read_running(layout.processes))
    layout.processes.unlink(missing_ok=True)
    return ended


def states(layout: Layout) -> list[State]:
    """Return the state of the supervisor, the server's programs and each node.

    Raises:
        UserError: the folder holds no trial.
    """
    deployment = read_deployment(layout)
    running = read_running(layout.processes)
    server = (SUPERVISOR, "superlink", "superexec")
    names = [*server, *(node_name(index) for index in range(len(deployment.nodes)))]
    link = running.get("superlink")
    told = _told(layout) if link and link.process() else {}
    found = []
    for name in names:
        each = running.get(name)
        alive = each is not None and each.process() is not None
        words = ("running" if alive else "not running") if name in server else told.get(name, "unknown")
        found.append(
            State(
                name,
                each.pid if each and alive else None,
                each.created if each and alive else None,
                each.starts if each else 0,
                words,
            )
        )
    return found


def is_healthy(found: Sequence[State]) -> bool:
    """Return whether all programs run and all nodes are online."""
    return all(state.pid is not None and state.link.split()[0] in {"running", "online"} for state in found)


def _told(layout: Layout) -> dict[str, str]:
    """Return what the SuperLink says of each node, by name."""
    names = {str(node_id): name for name, node_id in _registered(layout).items()}
    told = {}
    for node in flwr(layout, "supernode", "list")["nodes"]:
        if name := names.get(str(node["node-id"])):
            since = node.get(f"{node['status']}-at", "")
            told[name] = f"{node['status']} since {since}" if since else str(node["status"])
    return told


def _online(layout: Layout, num_nodes: int) -> bool:
    running = read_running(layout.processes)
    if not all((each := running.get(node_name(index))) and each.process() for index in range(num_nodes)):
        return False
    told = _told(layout)
    return all(told.get(node_name(index), "").startswith("online") for index in range(num_nodes))


def _registered(layout: Layout) -> dict[str, int]:
    try:
        return dict(json.loads(layout.registered.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def _register(layout: Layout, num_nodes: int) -> None:
    """Tell the SuperLink the public keys of the nodes that it does not know, and write who is who."""
    known = _registered(layout) if layout.database.exists() else {}
    new = [name for name in map(node_name, range(num_nodes)) if name not in known]

    def register(name: str) -> int:
        return int(flwr(layout, "supernode", "register", str(layout.keys / f"{name}.pub"))["node-id"])

    with ThreadPoolExecutor(4) as threads:
        known |= dict(zip(new, threads.map(register, new), strict=True))
    write_whole(layout.registered, (json.dumps(known, indent=2) + "\n").encode())


def _start_supervisor(layout: Layout) -> None:
    if not layout.database.exists():
        layout.registered.unlink(missing_ok=True)
    with (layout.logs / f"{SUPERVISOR}.log").open("ab") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "fedsieve.deploy.supervisor", str(layout.folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    write_running(layout.processes, {SUPERVISOR: Running.of(supervisor.pid)})


def _wait(arrived: Callable[[], bool], layout: Layout, until: float, else_: str) -> None:
    while not arrived():
        if time.monotonic() > until:
            raise RunFailedError(f"{else_}; {layout.logs} says why.")
        time.sleep(LOOK)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]
