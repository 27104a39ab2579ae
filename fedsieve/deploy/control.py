"""Flower's Control API, as `flwr` speaks it: nodes are registered and listed; runs are started, followed and stopped.

The client is Flower's own, kept in this process: each call of `flwr` would load Flower anew, which takes seconds.
"""

import hashlib
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedsieve.deploy.certificates import check_certificates
from fedsieve.deploy.layout import CONNECTION, Layout
from fedsieve.deploy.local_only import without_local_proxy
from fedsieve.errors import RunFailedError, UserError, one_line

if TYPE_CHECKING:
    from flwr.supercore.control import ControlHttpClient


@dataclass(frozen=True)
class Link:
    """What the SuperLink says of a node.

    Attributes:
        node_id: Flower's.
        status: registered, online, offline or unregistered.
        since: when it came online or went offline, as ISO 8601; "" if it never was.
    """

    node_id: int
    status: str
    since: str


@dataclass(frozen=True)
class RunStatus:
    """What the SuperLink says of a run.

    Attributes:
        stage: pending, starting, running or finished.
        result: of a finished run: completed, failed or stopped; else "".
        details: why it failed; else "".
    """

    stage: str
    result: str = ""
    details: str = ""


@contextmanager
def connect(layout: Layout, action: str) -> Iterator["ControlHttpClient"]:
    """Connect to the deployment's SuperLink, which is on this machine.

    Args:
        layout: of the deployment.
        action: what is asked for, with which messages begin.

    Raises:
        UserError: the folder or its certificates are of no use.
        RunFailedError: the SuperLink is not there or refuses; its own words.
    """
    import click
    from flwr.cli.utils import flwr_cli_exc_handler
    from flwr.supercore.control import ControlHttpClient

    address, authority = _read_connection(layout)
    try:
        with without_local_proxy():
            client = ControlHttpClient.from_server_address(
                address, insecure=False, root_certificates=authority, interceptors=()
            )
        try:
            with flwr_cli_exc_handler():
                yield client
        finally:
            client.close()
    except (click.ClickException, OSError, ValueError) as error:
        check_certificates(layout.keys)
        words = error.message if isinstance(error, click.ClickException) else str(error)
        raise RunFailedError(f"{action}: {one_line(RuntimeError(words)).rstrip('.')}.") from error


def _read_connection(layout: Layout) -> tuple[str, bytes]:
    path = layout.flower / "config.toml"
    try:
        link = tomllib.loads(path.read_text(encoding="utf-8"))["superlink"][CONNECTION]
        address, authority = str(link["address"]), Path(link["root-certificates"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path}: is not there or not readable, allowed: as fedsieve deploy keys or up writes it."
        ) from error
    try:
        return address, authority.read_bytes()
    except OSError as error:
        raise UserError(f"{authority}: cannot be read: {error.strerror}.") from error


def list_nodes(layout: Layout) -> list[Link]:
    """Return what the SuperLink says of each node that it has ever known."""
    from flwr.proto.control_pb2 import ListNodesRequest

    with connect(layout, "list the nodes") as superlink:
        nodes = superlink.ListNodes(ListNodesRequest()).nodes_info
    since = {"online": "last_activated_at", "offline": "last_deactivated_at"}
    return [
        Link(node.node_id, node.status, getattr(node, since[node.status]) if node.status in since else "")
        for node in nodes
    ]


def register_node(layout: Layout, public_key: Path) -> int:
    """Tell the SuperLink a node's public key and return the id that it gives the node."""
    from flwr.cli.supernode.register import try_load_public_key
    from flwr.proto.control_pb2 import RegisterNodeRequest

    with connect(layout, f"register {public_key.name}") as superlink:
        request = RegisterNodeRequest(public_key=try_load_public_key(public_key))
        return superlink.RegisterNode(request).node_id


def start_run(layout: Layout, app: Path) -> int:
    """Submit the Flower app in the folder `app` and return the run's id."""
    from flwr.cli.build import build_fab_from_disk
    from flwr.proto.control_pb2 import StartRunRequest
    from flwr.proto.fab_pb2 import Fab

    content = build_fab_from_disk(app)
    fab = Fab(hash_str=hashlib.sha256(content).hexdigest(), content=content)
    with connect(layout, "submit the run") as superlink:
        return superlink.StartRun(StartRunRequest(fab=fab)).run_id


def read_status(layout: Layout, run_id: int) -> RunStatus:
    """Return what the SuperLink says of the run."""
    from flwr.proto.control_pb2 import ListRunsRequest

    with connect(layout, f"ask for run {run_id}") as superlink:
        run = superlink.ListRuns(ListRunsRequest(run_id=run_id)).run_dict[run_id]
    return RunStatus(run.status.status, run.status.sub_status, run.status.details)


def stop_run(layout: Layout, run_id: int) -> None:
    """Have the SuperLink stop the run; one that has ended already is left as it is."""
    from flwr.proto.control_pb2 import StopRunRequest

    with connect(layout, f"stop run {run_id}") as superlink:
        superlink.StopRun(StopRunRequest(run_id=run_id))


def stream_log(layout: Layout, run_id: int, after: float) -> Iterator[tuple[str, float]]:
    """Yield what the run's ServerApp writes after the moment `after`, until the run ends: text, and up to when."""
    from flwr.proto.control_pb2 import StreamLogsRequest

    with connect(layout, f"read the log of run {run_id}") as superlink:
        for part in superlink.StreamLogs(StreamLogsRequest(run_id=run_id, after_timestamp=after)):
            yield part.log_output, part.latest_timestamp
