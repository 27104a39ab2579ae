"""What import-linter's contracts in pyproject.toml cannot say of the tree."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fedsieve
from fedsieve.algorithms import ENTRY_POINTS, algorithm_names
from fedsieve.plugins import plugin_of
from fedsieve.runs import layout

PACKAGE = Path(fedsieve.__file__).parent
LOADED = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
from fedsieve.algorithms import algorithm_names, load_algorithm
for name in algorithm_names():
    name == "flwr" or load_algorithm(name)  # whose members are Flower's
print([name for name in ("torch", "torch_geometric", "flwr", "ray") if name in sys.modules])
"""
FILES = {layout.SUMMARY, layout.REPORT, *layout.RECORDS, "similarity.safetensors", "figures"}


@pytest.mark.parametrize(
    ("room", "others"),
    [("strategies", {"mixing"}), ("client", {"training", "mask_result", "app"}), ("protocols", set())],
)
def test_a_rooms_listing_is_the_catalogue_of_algorithms(room: str, others: set[str]):
    built_in = {name.replace("-", "_") for name in algorithm_names() if plugin_of(ENTRY_POINTS, name) is None}
    there = {path.stem for path in (PACKAGE / room).iterdir() if not path.name.startswith("__")}
    shared = {"flwr"} if room == "client" else set()  # the clients of Flower's strategies are FedAvg's
    assert there == (built_in - shared) | others


def test_keys_are_validated_without_torch_and_flower():
    command = [sys.executable, "-c", LOADED, "fedsieve.config", "fedsieve.kinds", "fedsieve.masks.names"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


def strings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_a_runs_files_are_named_in_one_place():
    elsewhere = [path for path in PACKAGE.rglob("*.py") if path != Path(layout.__file__)]
    assert {path.name: found for path in elsewhere if (found := FILES.intersection(strings(path)))} == {}
