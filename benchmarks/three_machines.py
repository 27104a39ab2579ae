"""The three bare machines of docs/deployment.md: `python benchmarks/three_machines.py`, as root.

Takes the page's commands, block by block, to three containers that systemd boots, each with a network address of its
own: a server and two nodes, whose graphs are written here. Needs systemd-container, debootstrap, iproute2 and Debian's
packages. What is not as on the page: git clones this checkout, `scp` copies between the containers' folders, and the
run has `--rounds` rounds.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from torch_geometric.data import Data

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/deployment.md"
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,make,git,sudo,iproute2,ca-certificates"
BRIDGE = "fedsieve0"
HOSTS = {"fl.example.org": "10.77.0.1", "node-a": "10.77.0.2", "node-b": "10.77.0.3"}
PATIENCE = 300.0


@dataclass(frozen=True)
class Machine:
    """A container: its host name and the process id of its systemd."""

    name: str
    init: int

    @property
    def root(self) -> Path:
        """Its file system, as it sees it."""
        return Path(f"/proc/{self.init}/root")

    def do(self, commands: str) -> str:
        """Run a block of the page in root's shell and return what it prints."""
        print(f"--- on {self.name}\n{commands}", flush=True)
        inside = ("nsenter", "--target", str(self.init), "--all", "--root")
        found = subprocess.run(
            (*inside, "bash", "-euc", f"cd /root\n{commands}"), capture_output=True, text=True, check=False
        )
        print(found.stdout + found.stderr, flush=True)
        if found.returncode:
            raise SystemExit(f"{self.name}: exit code {found.returncode}")
        return found.stdout

    def wait_for(self, commands: str, word: str, times: int) -> None:
        """Run a block again until it has printed a word `times` times."""
        until = time.monotonic() + PATIENCE
        while self.do(commands).count(word) < times:
            if time.monotonic() > until:
                raise SystemExit(f"{self.name}: {word} has not come")
            time.sleep(5)


def blocks() -> list[str]:
    """Return the code blocks of the page's section, in order."""
    section = PAGE.read_text().partition("## Three bare machines")[2].partition("\n## ")[0]
    return re.findall(r"^```\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


@contextmanager
def overlay(lower: Sequence[Path], folder: Path) -> Iterator[Path]:
    """Mount a file system of its own over others, and yield where."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("upper", "work", "root"):
        (folder / name).mkdir(parents=True)
    options = f"lowerdir={':'.join(map(str, lower))},upperdir={folder}/upper,workdir={folder}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, folder / "root"], check=True)
    try:
        yield folder / "root"
    finally:
        subprocess.run(["umount", folder / "root"], check=True)


@contextmanager
def network() -> Iterator[None]:
    """Have a bridge that joins the containers."""
    subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
    subprocess.run(["ip", "link", "set", BRIDGE, "up"], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "link", "delete", BRIDGE], check=True)


@contextmanager
def booted(name: str, root: Path, log: Path) -> Iterator[Machine]:
    """Boot a container, and end it."""
    (root / "etc/hosts").write_text("".join(f"{address} {host}\n" for host, address in HOSTS.items()))
    (root / "etc/hostname").write_text(f"{name}\n")
    command = ["systemd-nspawn", "--directory", root, "--boot", "--register=no", "--keep-unit", "--machine", name]
    with log.open("wb") as stream:
        boot = subprocess.Popen([*command, f"--network-bridge={BRIDGE}"], stdin=subprocess.DEVNULL, stdout=stream,
                                stderr=stream, env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "0"})  # fmt: skip
        try:
            while not (found := [child for child in psutil.Process(boot.pid).children() if child.name() == "systemd"]):
                time.sleep(0.1)
            machine = Machine(name, found[0].pid)
            time.sleep(5)
            machine.do(f"ip address add {HOSTS[name]}/24 dev host0\nip link set host0 up\nip link set lo up")
            yield machine
        finally:
            boot.terminate()
            boot.wait()


def install(base: Path, folder: Path, block: str, binds: Sequence[str]) -> None:
    """Run the block for all three in one file system, over which each then has its own."""
    with overlay([base], folder) as root:
        words = [
            "systemd-nspawn",
            "--directory",
            root,
            "--register=no",
            "--keep-unit",
            "--bind-ro",
            f"{ROOT}:/checkout",
        ]
        words += [word for bind in binds for word in ("--bind-ro", bind)]
        words += [f"--setenv={key}={value}" for key, value in os.environ.items() if key.startswith("PIP_")]
        commands = re.sub(r"https://\S+", "/checkout", block)
        print(f"--- on all three\n{commands}", flush=True)
        prelude = "git config --global safe.directory '*'\n"
        subprocess.run([*words, "bash", "-euc", prelude + commands], check=True, stdin=subprocess.DEVNULL,
                       env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "0"})  # fmt: skip


def graph(seed: int) -> Data:
    """Return three communities of 20 nodes."""
    random = np.random.RandomState(seed)
    y = np.repeat(np.arange(3), 20)
    near = random.random_sample((60, 60)) < np.where(y[:, None] == y, 0.2, 0.01)
    edges = np.stack(np.nonzero(near | near.T))
    x = (np.eye(3)[y] + random.normal(size=(60, 3))).astype(np.float32)
    return Data(x=torch.from_numpy(x), edge_index=torch.from_numpy(edges), y=torch.from_numpy(y))


def carry(line: str, server: Machine, machines: dict[str, Machine]) -> None:
    """Do what an `scp` of the page does."""
    *sources, target = shlex.split(line)[1:]
    host, _, place = target.removeprefix("root@").partition(":")
    for source in sources:
        shutil.copy2(
            server.root / "var/lib/fedsieve" / source, machines[host].root / place.lstrip("/") / Path(source).name
        )


def play(arguments: argparse.Namespace) -> None:
    """Follow the page."""
    everywhere, server_up, keys, on_a_node, run = blocks()
    base, folder = arguments.base, arguments.folder
    if not base.exists():
        subprocess.run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", base], check=True)
    with ExitStack() as stack:
        installed = folder / "all/upper"
        if not installed.exists():
            install(base, folder / "all", everywhere, arguments.bind)
        stack.enter_context(network())
        roots = {name: stack.enter_context(overlay([installed, base], folder / name)) for name in HOSTS}
        machines = {name: stack.enter_context(booted(name, roots[name], folder / f"{name}.log")) for name in HOSTS}
        here = "cd /var/lib/fedsieve\n"
        server, *nodes = machines.values()
        server.do(here + server_up)
        server.wait_for("ss --listening --tcp --numeric --no-header", ":9093", 1)
        for line in keys.splitlines():
            if line.startswith("scp "):
                print(f"--- {line}", flush=True)
                carry(line, server, machines)
            else:
                server.do(here + line)
        for index, node in enumerate(nodes):
            torch.save(graph(index), node.root / "root/graph.pt")
            mine = on_a_node.replace("/tmp/node-0", f"/tmp/node-{index}")
            node.do(here + mine.replace("partition-id=0", f"partition-id={index}"))
        listing, *submit = run.splitlines()
        server.wait_for(here + listing, "online", len(nodes))
        rounds = f"--num-rounds {arguments.rounds}"
        server.do(here + re.sub(r"--num-rounds \d+", rounds, "\n".join(submit)))
        print(server.do(here + "cat runs/*/rounds.jsonl"))
        for machine in machines.values():
            machine.do("systemctl --no-pager list-units 'fedsieve-*'")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, default=Path("/var/tmp/fedsieve-bookworm"), help="Debian; made if missing")
    parser.add_argument(
        "--folder", type=Path, required=True, help="for the file systems; what all/ holds is taken as installed"
    )
    parser.add_argument("--bind", action="append", default=[], help="what pip needs of this machine; repeatable")
    parser.add_argument("--rounds", type=int, default=5)
    if os.geteuid():
        sys.exit("three_machines.py: needs root")
    play(parser.parse_args())


if __name__ == "__main__":
    main()
