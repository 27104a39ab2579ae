"""What a round of a deployment costs with trivial compute: `python benchmarks/deployment.py [--rounds 12] [--cold]`.

Three SuperNodes, SuperLink and ServerApp on this machine, TLS and node keys, over loopback; 200,000 floats each way a
client and 800,000 of state. `--cold` starts ClientApps as Flower does, a new interpreter for each message. Parts are
means over clients and medians over rounds but the first; the last part is from the slowest client's end on. CPU seconds
are those of all processes of the deployment from before the run to after it, over its rounds.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, median

import psutil

from engines import installed
from runs import heading, row

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


def cpu_seconds(folder: Path) -> float:
    """Return what all processes of the deployment have spent, ended children included."""
    total = 0.0
    for each in json.loads((folder / "processes.json").read_text()).values():
        process = psutil.Process(each["pid"])
        for one in (process, *process.children(recursive=True)):
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


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
        fedsieve("deploy", "up", folder / "trial", "--nodes", 3)
        try:
            before = cpu_seconds(folder / "trial")
            fedsieve("deploy", "run", folder / "trial", "--algorithm", "timed", "--dataset", "digits", "--partition",
                     "iid", "--num-rounds", chosen.rounds, "--out", folder / "run", "--quiet")  # fmt: skip
            spent = (cpu_seconds(folder / "trial") - before) / chosen.rounds
        finally:
            fedsieve("deploy", "down", folder / "trial")
        rounds = [json.loads(line)["seconds"] for line in (folder / "run" / "timings.jsonl").read_text().splitlines()]
        lines = [json.loads(line) for line in (folder / "times.jsonl").read_text().splitlines()]
    row("s a round", *PARTS, "CPU s a round")
    row(*["---"] * (len(PARTS) + 2))
    parts = zip(*map(parts_of, lines[1:]), strict=True)
    row(f"{median(rounds[1:]):.2f}", *(f"{median(part):.2f}" for part in parts), f"{spent:.1f}")


if __name__ == "__main__":
    main()
