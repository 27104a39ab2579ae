"""What a round of a deployment costs with trivial compute: `python benchmarks/deployment.py [--rounds 12] [--cold]`.

Three SuperNodes, SuperLink and ServerApp on this machine, TLS and node keys, over loopback, a small graph on each node;
200,000 floats each way a client and 800,000 of state. `--cold` starts ClientApps as Flower does, a new interpreter for
each message. Parts are means over clients and medians over rounds but the first; the last part is from the slowest
client's end on. CPU seconds are a round's, also without the first.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import mean, median

import numpy as np
import psutil

from engines import installed
from runs import heading, row

CPU = ("CPU s of a node", "of the SuperLink", "of the ServerApp")
PARTS = ("the node looks for work", "the process is ready", "the client works", "the reply is back")


def fedsieve(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "fedsieve", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def parts_of(line: dict) -> tuple[float, ...]:
    """Return how long each part of a round took."""
    clients = line["clients"]
    return (
        mean(told["started"] - line["sent"][client] for client, told in clients.items()),
        mean(told["began"] - told["started"] for told in clients.values()),
        mean(told["ended"] - told["began"] for told in clients.values()),
        line["answered"] - max(told["ended"] for told in clients.values()),
    )


def cpu_seconds(folder: Path) -> dict[str, float]:
    """Return what each program of the deployment has spent, with all that it has started."""
    spent = {}
    for name, each in json.loads((folder / "processes.json").read_text()).items():
        process = psutil.Process(each["pid"])
        spent[name] = 0.0
        for one in (process, *process.children(recursive=True)) if name != "supervisor" else ():
            with suppress(psutil.Error):
                times = one.cpu_times()
                spent[name] += times.user + times.system + times.children_user + times.children_system
    return spent


def ran(folder: Path, rounds: int) -> tuple[list[dict], dict[str, float]]:
    """Run, and return a line a round and each program's CPU seconds from the end of the first round to the last's."""
    words = ["deploy", "run", folder / "trial", "--algorithm", "timed", "--num-rounds", rounds,
             "--out", folder / "run", "--quiet"]  # fmt: skip
    times, lines, seen = folder / "times.jsonl", list[dict](), list[dict[str, float]]()
    with subprocess.Popen([sys.executable, "-m", "fedsieve", *map(str, words)]) as running:
        while running.poll() is None and len(lines) < rounds:
            time.sleep(0.1)
            found = times.read_text().splitlines() if times.exists() else []
            if len(found) > len(lines):
                lines = [json.loads(line) for line in found]
                seen.append(cpu_seconds(folder / "trial"))
    if running.returncode:
        raise SystemExit(running.returncode)
    return lines, {name: seen[-1][name] - seen[0][name] for name in seen[0]}


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=12)
    arguments.add_argument("--cold", action="store_true")
    chosen = arguments.parse_args()
    heading(f"python benchmarks/deployment.py --rounds {chosen.rounds}" + " --cold" * chosen.cold)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        installed(folder, "timed")
        os.environ |= {"FEDSIEVE_TIMES": str(folder / "times.jsonl")}
        if chosen.cold:
            os.environ["FEDSIEVE_COLD"] = "1"
        graph = folder / "graph.npz"
        np.savez(graph, x=np.eye(20, dtype=np.float32), edge_index=np.array([[0, 1], [1, 0]]), y=np.arange(20) % 2)
        fedsieve("deploy", "up", folder / "trial", "--nodes", 3, *["--data", graph] * 3)
        try:
            lines, spent = ran(folder, chosen.rounds)
        finally:
            fedsieve("deploy", "down", folder / "trial")
        rounds = [json.loads(line)["seconds"] for line in (folder / "run" / "timings.jsonl").read_text().splitlines()]
    parts = zip(*map(parts_of, lines[1:]), strict=True)
    nodes = sum(seconds for name, seconds in spent.items() if name.startswith("node-")) / 3
    cpu = [each / (chosen.rounds - 1) for each in (nodes, spent["superlink"], spent["superexec"])]
    row("s a round", *PARTS, *CPU)
    row(*["---"] * (1 + len(PARTS) + len(CPU)))
    row(f"{median(rounds[1:]):.2f}", *(f"{median(part):.2f}" for part in parts), *(f"{each:.2f}" for each in cpu))


if __name__ == "__main__":
    main()
