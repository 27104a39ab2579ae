"""Runs of the command line as a user would start them, each in a process of its own on one thread."""

import csv
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fedsieve.config import parse, read

RUNS = Path("runs/benchmarks")
SEEDS = (42, 43, 44)


def folder_of(name: str) -> Path:
    """Return the folder of the run called `name`, which may hold blanks and commas."""
    return RUNS / name.replace(", ", "-").replace(" ", "-")


def run(name: str, keys: Mapping[str, object]) -> dict[str, Any]:
    """Run once and return the summary; a run that is already in its folder, with these keys, is not run again.

    Unless the keys ask for checkpoints there is one at the end alone.
    """
    folder = folder_of(name)
    if (folder / "config.toml").exists():
        ran = parse(read(folder / "config.toml")).flat()
        if odd := [key for key, value in keys.items() if ran[key] != value]:
            raise SystemExit(f"{folder} holds a run with another {odd[0]} ({ran[odd[0]]}): remove it")
    if not (folder / "summary.json").exists():
        assignments = [f"-s{key}={value}" for key, value in ({"checkpoint-every": 0} | dict(keys)).items()]
        command = [sys.executable, "-m", "fedsieve", "run", "--quiet", "--out", str(folder), *assignments]
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    summary = json.loads((folder / "summary.json").read_text())
    rounds = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    times = [json.loads(line) for line in (folder / "timings.jsonl").read_text().splitlines()]
    with (folder / "clients.csv").open(encoding="utf-8") as file:
        clients = list(csv.DictReader(file))
    best = rounds[summary["best_round"] - 1] if rounds else {}
    return summary | {"val_accuracy": best.get("val_accuracy"), "timings": times, "rounds": rounds, "clients": clients}


def heading(command: str) -> None:
    """Print what a table needs beside it: the command, the date, the machine and the versions."""
    packages = ("fedsieve", "flwr", "torch", "torch-geometric", "numpy", "pymetis", "constriction")
    found = ", ".join(f"{package} {version(package)}" for package in packages)
    print(f"`{command}`, {date.today()}, {platform.machine()}, {os.cpu_count()} cores, "
          f"Python {platform.python_version()}, {found}\n")  # fmt: skip


def row(*cells: object) -> None:
    """Print a row of a Markdown table."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)
