"""Where a deployment's files are, and the one file that says what it consists of."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from fedsieve.errors import UserError
from fedsieve.files import write_whole

FLEET_PORT, CONTROL_PORT = 9092, 9093
"""Where SuperNodes and where `flwr` find a SuperLink on real hosts; a trial takes free ports."""

CONNECTION = "deployment"
"""What the SuperLink is called in Flower's own configuration."""

BIN = Path(sys.executable).parent

STAND_INS = Path(__file__).parent / "path"
"""Holds what is started in place of Flower's programs for a ClientApp and a ServerApp."""


@dataclass(frozen=True)
class Layout:
    """The paths of one deployment."""

    folder: Path

    @property
    def keys(self) -> Path:
        """Certificates and keys."""
        return self.folder / "keys"

    @property
    def flower(self) -> Path:
        """FLWR_HOME of the server and of `flwr`."""
        return self.folder / "flower"

    @property
    def database(self) -> Path:
        """The SuperLink's."""
        return self.folder / "superlink.db"

    @property
    def registered(self) -> Path:
        """Flower's node id of each node that the SuperLink knows, by its name."""
        return self.folder / "registered.json"

    @property
    def processes(self) -> Path:
        """What runs; written by the supervisor, removed when all has ended."""
        return self.folder / "processes.json"

    @property
    def logs(self) -> Path:
        """A log for each program."""
        return self.folder / "logs"

    @property
    def runs(self) -> Path:
        """The runs' folders."""
        return self.folder / "runs"

    def is_deployment(self) -> bool:
        """Return whether a deployment's keys or programs have been set up here."""
        return (self.flower / "config.toml").exists()

    def node(self, index: int) -> Path:
        """Return the folder of a node: its Flower home and its clients' states."""
        return self.folder / "nodes" / node_name(index)


@dataclass(frozen=True)
class Node:
    """One SuperNode of a trial: the port of its own ClientApps, and its data, None for its part of a data set."""

    port: int
    data: str | None


@dataclass(frozen=True)
class Deployment:
    """What a trial on this machine consists of."""

    fleet_port: int
    control_port: int
    nodes: tuple[Node, ...]

    def write(self, layout: Layout) -> None:
        """Write `deployment.json` and Flower's configuration."""
        write_whole(layout.folder / "deployment.json", (json.dumps(asdict(self), indent=2) + "\n").encode())
        write_connection(layout, self.control_port)


def read_deployment(layout: Layout) -> Deployment:
    """Read what `deploy up` has written; a folder without it is a `UserError`."""
    path = layout.folder / "deployment.json"
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        nodes = tuple(Node(int(node["port"]), node["data"]) for node in given["nodes"])
        return Deployment(int(given["fleet_port"]), int(given["control_port"]), nodes)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: is not there or not readable, allowed: a folder of fedsieve deploy up.") from error


def read_registered(layout: Layout) -> dict[str, int]:
    """Return Flower's node id of each node of a trial that the SuperLink knows, by its name; empty on real hosts."""
    try:
        given = json.loads(layout.registered.read_text(encoding="utf-8"))
        return {str(name): int(node_id) for name, node_id in given.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write_connection(layout: Layout, control_port: int) -> None:
    """Tell `flwr` where the SuperLink is and who signed its certificate."""
    import tomli_w

    link = {"address": f"127.0.0.1:{control_port}", "root-certificates": str(layout.keys.absolute() / "ca.crt")}
    config = {"superlink": {"default": CONNECTION, CONNECTION: link}}
    layout.flower.mkdir(parents=True, exist_ok=True)
    write_whole(layout.flower / "config.toml", tomli_w.dumps(config).encode())


def warm_path(variables: Mapping[str, str]) -> str:
    """Return the PATH on which Flower's apps start warm, or as Flower has it if FEDSIEVE_COLD is set."""
    stand_ins = () if variables.get("FEDSIEVE_COLD") else (str(STAND_INS),)
    return os.pathsep.join((*stand_ins, str(BIN), variables.get("PATH", os.defpath)))


def node_name(index: int) -> str:
    """Return what a node's key, log and folder are called."""
    return f"node-{index}"


def describe_node_and_client(name: str) -> str:
    """Return what messages call a trial's node: its name, and the client that it is."""
    return f"{name} (client {name.removeprefix('node-')})"
