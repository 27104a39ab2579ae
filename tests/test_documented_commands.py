"""Every command that the README and the pages of `docs/` show is run here, or says beside it what has run it.

A block of commands (```sh, or ``` with a command in it) is run line by line in an empty folder, each page in one of its
own. What makes a run cheap is in `REDUCED` and in `few_images`. A block that can not be run here has before it

    <!-- ran by: PATH, PATH::test_name -->

with the tests or benchmarks that have run its commands, of which this checks that they are there. A ```python block
after `<!-- run -->` is run too, in its turn and with what the page's blocks before it have defined; one that begins
with `# NAME.py` becomes that file, and ```toml is read as keys of a run.
"""

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fedsieve.config import parse
from tests.helpers import fedsieve

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

REDUCED, FEW_IMAGES = ["--num-rounds", "2"], ["-s", "examples-per-client=20"]
"""Appended to `fedsieve run`, where the last of two flags counts: two rounds, of images 20 a client that is dealt."""

CHEAP = {"run", "runs", "resume", "list", "report", "predict", "partition", "new-plugin"}
"""Commands of `fedsieve` that are run here."""

COMMANDS = set(re.findall(r"\w+", "docker fedsieve flwr git make pip pytest python scp sudo systemctl useradd"))
"""First words by which a block without a language is known as one of commands."""

HARMLESS = re.compile(r"(export|source|cd) ")
"""Lines that only prepare the user's shell."""


@dataclass(frozen=True)
class Block:
    """A fenced block: where it is, its language and lines, what has run it, and whether it is marked to be run here."""

    place: str
    language: str
    lines: list[str]
    ran_by: list[str] | None
    wanted: bool = False

    @property
    def is_commands(self) -> bool:
        words = {line.split()[0] for line in self.lines if line.strip()}
        return self.language in ("sh", "bash", "console") or (self.language == "" and bool(words & COMMANDS))


def blocks(page: Path) -> list[Block]:
    found: list[Block] = []
    mark: list[str] | None = None
    wanted = False
    opened: Block | None = None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if opened is not None:
            if line.strip() == "```":
                found.append(opened)
                opened, mark, wanted = None, None, False
            else:
                opened.lines.append(line)
        elif line.startswith("```"):
            opened = Block(f"{page.name}:{number}", line[3:].strip(), [], mark, wanted)
        elif given := re.fullmatch(r"<!-- ran by: (.*) -->", line.strip()):
            mark = given[1].split(", ")
        elif line.strip():
            mark, wanted = None, line.strip() == "<!-- run -->"
    assert opened is None, f"{page}: the last block is open"
    return found


MARKED = [block for page in PAGES for block in blocks(page) if block.ran_by is not None]
RUN = [
    page
    for page in PAGES
    if any((block.is_commands or block.wanted) and block.ran_by is None for block in blocks(page))
]


@pytest.mark.parametrize("block", MARKED, ids=[block.place for block in MARKED])
def test_what_a_page_says_has_run_its_commands_is_there(block: Block):
    assert block.is_commands
    for named in block.ran_by or []:
        file, _, test = named.partition("::")
        assert (ROOT / file).is_file(), f"{block.place}: {file} is not there"
        assert file == ".ci/run" or file.startswith(("tests/", "benchmarks/")), f"{block.place}: {file} runs nothing"
        assert f"def {test}(" in (ROOT / file).read_text() or not test, f"{block.place}: {named} is not there"


def test_a_block_of_commands_is_known_and_so_is_its_mark(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "```\nfedsieve list\n```\n<!-- ran by: a.py, b.py::test_c -->\n\n```sh\nx\n```\ntext\n```\nx 1\n```\n"
    )
    first, second, third = blocks(page)
    assert (first.is_commands, first.ran_by, first.lines) == (True, None, ["fedsieve list"])
    assert (second.is_commands, second.ran_by) == (True, ["a.py", "b.py::test_c"])
    assert (third.is_commands, third.ran_by) == (False, None)


@pytest.fixture(scope="module")
def few_images(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """Return a FEDSIEVE_DATA of the real graphs and the first images of each set, 1,200 and 300; None without any."""
    real = Path(os.environ["FEDSIEVE_DATA"]) if os.environ.get("FEDSIEVE_DATA") else None
    if real is None:
        return None
    small = tmp_path_factory.mktemp("data")
    for folder in (path for path in real.iterdir() if path.is_dir()):
        if not (folder / "train.parquet").exists():
            (small / folder.name).symlink_to(folder)
            continue
        (small / folder.name).mkdir()
        for part, count in (("train", 1200), ("test", 300)):
            table = pq.read_table(folder / f"{part}.parquet")
            pq.write_table(table.slice(0, count), small / folder.name / f"{part}.parquet")
    return small


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which what one page has read is there for the next."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize("page", RUN, ids=[page.stem for page in RUN])
def test_the_commands_of_a_page_work(
    page: Path,
    few_images: Path | None,
    cache: Path,
    real_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("FEDSIEVE_DATA", str(few_images))
    monkeypatch.setenv("FEDSIEVE_CACHE", str(cache))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    done: set[str] = set()  # `make demo`, say, which the README shows to two kinds of readers
    names: dict[str, object] = {"__name__": "block"}
    for block in blocks(page):
        if block.ran_by is not None:
            continue
        if block.wanted and block.language == "toml":
            parse(tomllib.loads("\n".join(block.lines)))
        elif block.wanted:
            run_python("\n".join(block.lines) + "\n", names)
        elif block.is_commands:
            for line in block.lines:
                if line not in done:
                    run_line(line, block.place)
                done.add(line)


def run_python(code: str, names: dict[str, object]) -> None:
    """Write the file that the code's first line names, or run it after the page's earlier blocks."""
    if named := re.match(r"# (\w+\.py)\b", code):
        Path(named[1]).write_text(code)
    else:
        exec(compile(code, "a python block", "exec"), names)


def run_line(line: str, place: str) -> None:
    """Run one line of a block, reduced."""
    words = shlex.split(named_last_run(line), comments=True)
    if not words or HARMLESS.match(line):
        return
    if words[0] == "make":
        run_make(words[1:], place)
        return
    here = words[0] == "fedsieve" and words[1] in CHEAP
    assert here, f"{place}: {line!r} is not run here; let a comment before its block say what has run it"
    reduced = REDUCED + FEW_IMAGES * ("given" not in words) if words[1] == "run" else []
    assert fedsieve(*words[1:], *reduced) == 0, f"{place}: {line}"


def named_last_run(line: str) -> str:
    """Put the newest run's name for `<name>`."""
    if "<name>" not in line:
        return line
    newest = max((path for path in Path("runs").iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    return line.replace("<name>", newest.name)


def run_make(targets: list[str], place: str) -> None:
    """Run the commands of `make demo`; what else make does is what `.ci/run` does."""
    for target in targets:
        if target == "demo":
            told = subprocess.run(["make", "-n", "demo"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
            lines = [line for line in told.splitlines() if line.startswith(".venv/bin/fedsieve ")]
            assert len(lines) == 4
            assert "rm -rf runs/demo" in told
            shutil.rmtree("runs/demo", ignore_errors=True)
            for line in lines:
                run_line(line.removeprefix(".venv/bin/"), place)
        else:
            assert f"make {target}" in (ROOT / ".ci" / "run").read_text() or target == "venv", f"{place}: make {target}"


def test_every_page_is_collected():
    assert shutil.which("make")
    assert {page.name for page in RUN} >= {"README.md", "first-run.md", "own-graph.md", "own-images.md"}
