"""docs/writing-an-algorithm.md shows what examples/ditto is, and the example does what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest

from fedsieve.new_plugin import new_plugin
from tests.helpers import installed_from

ROOT = Path(__file__).parents[1]
DITTO = ROOT / "examples" / "ditto"
HALVES = ("fedsieve_ditto/client.py", "fedsieve_ditto/server.py")

BLOCKS = re.findall(
    r"^```(\w*)\n(.*?)^```$", (ROOT / "docs" / "writing-an-algorithm.md").read_text(encoding="utf-8"), re.M | re.S
)


def sources(folder: Path) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.suffix in (".py", ".toml")]


@pytest.mark.parametrize("block", [text for language, text in BLOCKS if language in ("python", "toml")])
def test_what_the_tutorial_shows_is_in_the_example_or_in_a_new_plugin(block: str, tmp_path: Path):
    new_plugin("ditto", tmp_path / "new")
    found = [*sources(DITTO), *sources(tmp_path / "new")]
    assert any(block in text or indent(block, "    ") in text for text in found)


@pytest.mark.parametrize("half", HALVES)
def test_the_tutorial_shows_both_halves_whole(half: str):
    text = (DITTO / half).read_text(encoding="utf-8")
    for _, block in BLOCKS:
        text = text.replace(block, "").replace(indent(block, "    "), "")
    assert text.split() == []


def test_the_halves_have_fewer_than_100_lines():
    assert sum(len((DITTO / half).read_text(encoding="utf-8").splitlines()) for half in HALVES) < 100


def test_the_example_does_what_it_says(tmp_path: Path):
    with installed_from(DITTO, tmp_path / "site"):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_ditto.py"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=DITTO, env=dict(os.environ))
    assert done.returncode == 0, done.stdout
