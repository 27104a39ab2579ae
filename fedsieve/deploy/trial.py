"""A trial on this machine: SuperLink and SuperNodes with TLS and node keys, started, looked at and ended."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fedsieve.deploy.certificates import check_certificates
from fedsieve.deploy.control import Link, list_nodes, register_node
from fedsieve.deploy.keys import count_keys, make_keys
from fedsieve.deploy.layout import (
    Deployment,
    Layout,
    Node,
    describe_node_and_client,
    node_name,
    read_deployment,
    read_registered,
)
from fedsieve.deploy.processes import SERVER, SUPERVISOR, Running, end, read_running, write_running
from fedsieve.errors import RunFailedError, UserError, make_printable
from fedsieve.files import write_whole
from fedsieve.kinds import is_named
from fedsieve.paths import expand, make_absolute

NODES = 3
LOOK = 0.2
"""Seconds between two looks whether something has come up."""

SLACK = 2.0
"""Seconds by which a process's creation, which the system knows from its boot time, may seem later than it was."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class State:
    """What is known of one program of a trial.

    Attributes:
        pid: of the process, None where there is none.
        since: when that process was created, in seconds since 1970.
        starts: how often it has been started.
        link: of a node, whether it is online, since when, and else what has become of it; of a server's program,
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
    if missing := [path for path in data if not is_named(path) and not expand(path).exists()]:
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
    check_certificates(layout.keys)
    try:
        for folder in (layout.logs, layout.runs, *(layout.node(index) for index in range(num_nodes))):
            folder.mkdir(parents=True, exist_ok=True)
        fleet, control, *ports = _find_free_ports(num_nodes + 2)
        paths: list[str | None] = [path if is_named(path) else str(make_absolute(path)) for path in data]
        paths = paths or [None] * num_nodes
        nodes = tuple(Node(port, path) for port, path in zip(ports, paths, strict=True))
        deployment = Deployment(fleet, control, nodes)
        deployment.write(layout)
    except OSError as error:
        raise UserError(f"{layout.folder}: cannot be written: {error.strerror}.") from error
    until = time.monotonic() + timeout
    try:
        before = {name: _measure_log(layout, name) for name in SERVER}
        _start_supervisor(layout)
        progress("the SuperLink")
        _wait(lambda: _is_listening(control), lambda: "the SuperLink does not answer", layout, until, before)
        _register(layout, num_nodes)
        progress("the nodes")
        _wait(lambda: not describe_missing(layout), lambda: describe_missing(layout), layout, until, before)
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
    names = [*SERVER, *(node_name(index) for index in range(len(deployment.nodes)))]
    link = running.get("superlink")
    links = _ask_for_links(layout) if link and link.process() else {}
    of_programs = []
    for name in names:
        each = running.get(name)
        alive = each is not None and each.process() is not None
        words = ("running" if alive else "not running") if name in SERVER else describe_node(each, links.get(name))
        of_programs.append(
            State(
                name,
                each.pid if each and alive else None,
                each.created if each and alive else None,
                each.starts if each else 0,
                words,
            )
        )
    return of_programs


def is_healthy(programs: Sequence[State]) -> bool:
    """Return whether all programs run and all nodes are online."""
    return all(state.pid is not None and state.link.split()[0] in {"running", "online"} for state in programs)


def node_states(layout: Layout) -> list[State] | None:
    """Return the states of a trial's nodes, None where the deployment is none that `up` has started."""
    if not read_running(layout.processes):
        return None
    return [state for state in states(layout) if state.name not in SERVER]


def describe_missing(layout: Layout) -> str:
    """Return which of a trial's nodes are not online and what has become of them, "" if all are."""
    missing = [state for state in node_states(layout) or () if not state.link.startswith("online")]
    return "; ".join(f"{describe_node_and_client(state.name)}: {state.link}" for state in missing)


def describe_node(started: Running | None, link: Link | None) -> str:
    """Return what has become of a node.

    The SuperLink's word for a node that it has known before holds for the time after the node's start only.

    Args:
        started: its process, as the supervisor started it last.
        link: what the SuperLink says of it, None if it has not been registered.
    """
    if started is None:
        return "not running"
    if started.process() is None:
        return "killed or cut off"
    if link is None or link.status not in {"online", "offline"}:
        return "starting"
    since = _parse_moment(link.since)
    if since is None or since.timestamp() + SLACK < started.created:
        return "starting"
    return f"{'online' if link.status == 'online' else 'cut off'} since {since:%Y-%m-%d %H:%M:%S}Z"


def _parse_moment(moment: str) -> datetime | None:
    """Return a moment in UTC, None for one that is not given."""
    try:
        given = datetime.fromisoformat(moment)
    except ValueError:
        return None
    return given.astimezone(UTC) if given.tzinfo else given.replace(tzinfo=UTC)


def _ask_for_links(layout: Layout) -> dict[str, Link]:
    """Return what the SuperLink says of each node, by name."""
    names = {node_id: name for name, node_id in read_registered(layout).items()}
    return {names[link.node_id]: link for link in list_nodes(layout) if link.node_id in names}


def _register(layout: Layout, num_nodes: int) -> None:
    """Tell the SuperLink the public keys of the nodes that it does not know, and write who is who."""
    known = read_registered(layout) if layout.database.exists() else {}
    new = [name for name in map(node_name, range(num_nodes)) if name not in known]

    known |= {name: register_node(layout, layout.keys / f"{name}.pub") for name in new}
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


def _wait(
    arrived: Callable[[], bool],
    missing: Callable[[], str],
    layout: Layout,
    until: float,
    before: Mapping[str, int],
) -> None:
    """Wait until something has arrived; what is missing by then, or the end of a program of the server's, is raised."""
    while not arrived():
        check_server_runs(layout, before)
        if time.monotonic() > until:
            raise RunFailedError(f"{missing()}; {layout.logs} says why.")
        time.sleep(LOOK)


def check_server_runs(layout: Layout, before: Mapping[str, int]) -> None:
    """Raise a `RunFailedError`, with its log's last line, if the supervisor or the SuperLink has ended.

    Args:
        layout: of the trial.
        before: bytes that each one's log had when it was started.
    """
    running = read_running(layout.processes)
    for name in (SUPERVISOR, "superlink"):
        each = running.get(name)
        if (each is None and name == SUPERVISOR) or (each and (each.process() is None or each.starts > 1)):
            log = layout.logs / f"{name}.log"
            said = _read_last_line(log, before[name])
            raise RunFailedError(f"the {name} has ended{': ' * bool(said)}{said.rstrip('.')}; see {log}.")


def _measure_log(layout: Layout, name: str) -> int:
    log = layout.logs / f"{name}.log"
    return log.stat().st_size if log.exists() else 0


def _read_last_line(log: Path, start: int) -> str:
    """Return the last line of a log after its first `start` bytes, without colours."""
    if not log.exists():
        return ""
    text = _COLOUR.sub("", log.read_bytes()[start:].decode(errors="replace"))
    return make_printable(next(filter(str.strip, reversed(text.splitlines())), ""))


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _find_free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]
