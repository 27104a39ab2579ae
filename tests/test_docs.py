"""The documents say what the code does."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from fedsieve.keys import fields

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def write_keys() -> Any:
    spec = importlib.util.spec_from_file_location("write_keys", DOCS / "write_keys.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["configuration.md", "pyproject.toml"])
def test_every_key_is_written_down_as_it_is(name: str, write_keys: Any) -> None:
    (path,) = [path for path in write_keys.WRITTEN if path.name == name]
    text = path.read_text(encoding="utf-8")
    assert text == write_keys.WRITTEN[path](text), "python docs/write_keys.py writes it"


def test_a_key_that_changes_is_noticed(write_keys: Any) -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert write_keys.written_configuration(text.replace("| `10` |", "| `11` |")) == text
    assert {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")} >= set(fields())
    project = (DOCS.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert write_keys.written_pyproject(project.replace("num-clients = 10", "num-clients = 11")) == project
