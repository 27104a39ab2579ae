import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedsieve.errors import UserError
from fedsieve.new_plugin import LONGEST, check_name, new_plugin
from tests.helpers import fedsieve, installed_from

LONG = "-".join(["abcdefg"] * 4)


@pytest.mark.parametrize("name", ["a", "ditto", "half-way-2", LONG])
def test_a_new_plugin_is_named_throughout_linted_and_formatted(name: str, tmp_path: Path):
    assert len(LONG) == LONGEST - 1
    written = new_plugin(name, tmp_path / "new")
    module = f"fedsieve_{name.replace('-', '_')}"
    assert {str(path) for path in written} == {
        "README.md", "pyproject.toml", f"{module}/__init__.py", f"{module}/client.py", f"{module}/server.py",
        f"{module}/py.typed", "tests/test_conformance.py", f"tests/test_{name.replace('-', '_')}.py",
    }  # fmt: skip
    for path in written:
        text = (tmp_path / "new" / path).read_text()
        assert "algorithm" not in str(path)
        assert not any(left in text for left in ("my-algorithm", "my_algorithm", "MyAlgorithm"))
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "."],
            check=False, capture_output=True, text=True, cwd=tmp_path / "new",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


def test_a_new_plugin_passes_its_own_tests_and_is_told_from_a_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert fedsieve("new-plugin", "newly-made") == 0
    told = capfd.readouterr().out.splitlines()
    assert [Path(line.strip()) for line in told if line.startswith("  newly-made/")] == sorted(
        path for path in Path("newly-made").rglob("*") if path.is_file()
    )
    assert told[-3:] == [
        "  pip install -e 'newly-made[test]'",
        "  fedsieve run --algorithm newly-made --dataset digits --num-rounds 10",
        "  pytest newly-made",
    ]
    with installed_from(Path("newly-made").absolute(), tmp_path / "site"):
        picked = "newly_made or is-installed or runs-on"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", picked, "newly-made"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | {"CI": ""})
        assert done.returncode == 0, done.stdout
        assert "6 passed" in done.stdout
        with pytest.raises(UserError, match=r"an algorithm that fedsieve-newly-made 0\.1\.0 has; allowed"):
            check_name("newly-made")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("My_Algo", r"got 'My_Algo' \(did you mean my-algo\?\), allowed: up to 32 lower-case letters, digits"),
        ("FedProx2", r"got 'FedProx2' \(did you mean fed-prox2\?\), allowed"),
        ("", r"got '', allowed"),
        ("3d", r"got '3d', allowed"),
        ("-x", r"got '-x' \(did you mean x\?\), allowed"),
        ("a--b", r"got 'a--b' \(did you mean a-b\?\), allowed"),
        ("a.b", r"got 'a.b' \(did you mean a-b\?\), allowed"),
        ("ärger", r"got 'ärger' \(did you mean rger\?\), allowed"),
        ("x" * 33, r"got 'x+', allowed"),
        ("a\nb", r"got 'a\\nb' \(did you mean a-b\?\), allowed"),
        ("num-clients", r"got 'num-clients', which is a key of runs or experiments; allowed: another name"),
        ("settings", r"got 'settings', which is a key of runs"),
        *((word, rf"got '{word}', which is a key of runs") for word in ("sweep", "runs", "table", "seeds", "label")),
        *((word, rf"got '{word}', a name that Python or") for word in ("none", "true", "false", "replies", "mean")),
        ("fed-avg", r"got 'fed-avg', an algorithm that FedSieve itself has; allowed: another name"),
    ],
)
def test_a_name_that_no_algorithm_can_have_is_one_sentence(name: str, told: str, tmp_path: Path):
    with pytest.raises(UserError, match=rf"^new-plugin: {told}") as caught:
        new_plugin(name, tmp_path / "new")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_holds_something_is_one_sentence_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    Path("mine", "notes").write_text("mine")
    Path("file").touch()
    Path("empty").mkdir()
    assert fedsieve("new-plugin", "mine") == 2
    told = "new-plugin: got the folder mine, which is not empty; allowed: a new or an empty one."
    assert capfd.readouterr() == ("", f"fedsieve: {told}\n")
    assert [path.name for path in Path("mine").iterdir()] == ["notes"]
    assert fedsieve("new-plugin", "mine", "--out", "file") == 2
    assert "which is a file" in capfd.readouterr().err
    assert fedsieve("new-plugin", "mine", "--out", "empty") == 0
