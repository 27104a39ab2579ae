import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

from fedsieve import data
from fedsieve.catalogue import GRAPH_PARTITIONS, GRAPHS, IMAGE_PARTITIONS, IMAGES
from fedsieve.data.graphs import DATASETS
from fedsieve.data.image_cuts import IMAGE_PARTITIONS as IMAGE_CUTS
from fedsieve.data.image_sets import IMAGE_DATASETS
from fedsieve.data.partitions import PARTITIONS

HEAVY = {"torch", "torch_geometric", "numpy", "scipy", "pandas", "PIL", "pyarrow", "datasets", "flwr", "pydantic"}


def test_each_name_can_be_loaded_and_what_can_be_loaded_has_a_line():
    assert list(GRAPHS) == list(DATASETS)
    assert list(IMAGES) == list(IMAGE_DATASETS)
    assert list(GRAPH_PARTITIONS) == list(PARTITIONS)
    assert list(IMAGE_PARTITIONS) == list(IMAGE_CUTS)


def test_names_and_kinds_are_known_without_anything_heavy():
    code = "import sys, fedsieve.catalogue, fedsieve.kinds; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "fedsieve.kinds" in loaded
    assert HEAVY.isdisjoint(loaded)


def test_no_module_of_data_leads_back_to_itself():
    (folder,) = map(Path, data.__path__)
    imports = {}
    for file in folder.glob("*.py"):
        name = "fedsieve.data" if file.stem == "__init__" else f"fedsieve.data.{file.stem}"
        nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
        imports[name] = {node.module for node in nodes if str(node.module).startswith("fedsieve.data")}
    assert imports["fedsieve.data"] == set()
    assert len(list(TopologicalSorter(imports).static_order())) == len(imports)
