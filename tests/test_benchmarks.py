"""What makes the figures of docs/results.md anew is there, and `make bench` runs all of it."""

import os
import re
import subprocess
import sys
from pathlib import Path

from fedsieve.simulations.experiment import list_built_in

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
MAKE = (ROOT / "Makefile").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
CONTENTS = re.findall(r"^\| \[.*?\]\(#(.*?)\) \| `(.*?)` \|$", RESULTS, re.MULTILINE)
"""Section and command of each table."""


def scripts(text: str) -> set[str]:
    return set(re.findall(r"python benchmarks/(\w+)\.py", text))


def sweeps(text: str) -> set[str]:
    return set(re.findall(r"fedsieve sweep ([\w-]+)(?![\w.-])", text))


def test_what_benchmarks_import_is_there(tmp_path: Path):
    names = sorted(path.stem for path in BENCHMARKS.glob("*.py"))
    code = "import importlib\n" + "".join(f"importlib.import_module({name!r})\n" for name in names)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parent)])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_make_bench_runs_every_command_that_makes_a_table_anew():
    commands = "\n".join(command for _, command in CONTENTS)
    assert len(CONTENTS) > 20
    assert scripts(commands) <= {path.stem for path in BENCHMARKS.glob("*.py")}
    assert scripts(MAKE) - {"profile_round"} == scripts(commands)  # that one is for docs/profile.md
    assert sweeps(MAKE) == sweeps(commands) == set(list_built_in())


def test_every_table_names_a_command_that_is_there_and_every_section_is_in_the_contents():
    told = re.sub(r"`python benchmarks/\w+\.py`\s+of\s+commit", "", RESULTS)
    assert scripts(told) == scripts("\n".join(command for _, command in CONTENTS))
    assert sweeps(told.replace("sweep NAME", "")) == set(list_built_in())
    sections = re.split(r"^##+ (.*)$", RESULTS.partition("\n## Accuracy")[1] + RESULTS.partition("\n## Accuracy")[2],
                        flags=re.MULTILINE)  # fmt: skip
    for heading, text in zip(sections[1::2], sections[2::2], strict=True):
        anchor = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        commands = {command for section, command in CONTENTS if section == anchor}
        assert {f"python benchmarks/{name}.py" for name in scripts(re.sub(r"`[^`]*`\s+of\s+commit", "", text))} | {
            f"fedsieve sweep {name}" for name in sweeps(text)
        } == commands, heading
