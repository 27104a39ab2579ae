import csv
import io
import json
import os
from pathlib import Path

import pytest

from fedsieve.reports.figure import Table
from fedsieve.reports.formats import Format, format_tables
from tests.helpers import config, fedsieve
from tests.reports.made_up import write_run


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Three runs, two of which differ in lr and the third in its algorithm too, and a folder that is cut off."""
    root = tmp_path / "many"
    (root / "deep").mkdir(parents=True)
    for name, keys, accuracy in (
        ("a", {"lr": 0.1}, 0.5),
        ("b", {"lr": 0.01}, 0.75),
        ("deep/c", {"lr": 0.01, "algorithm": "local"}, 0.625),
    ):
        write_run(root / name, clients=2, test_accuracy=accuracy, algorithm=keys.get("algorithm", "fed-avg"))
        (root / name / "config.toml").write_text(config({"algorithm": "fed-avg"} | keys).toml())
    write_run(root / "broken", clients=2)
    (root / "broken" / "rounds.jsonl").write_text("{}\n{}\n")
    (root / "b" / "model").mkdir()
    (root / "b" / "model" / "summary.json").write_text("no run of its own")
    return root


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert fedsieve("runs", *arguments) == 0
    return capsys.readouterr().out


def test_runs_are_listed_the_best_first_with_what_differs(many: Path, capsys: pytest.CaptureFixture[str]):
    rows = json.loads(printed(capsys, many, "--format", "json"))
    assert [row["run"] for row in rows] == ["b", "deep/c", "a", "broken"]
    assert [row["test_accuracy"] for row in rows] == [0.75, 0.625, 0.5, None]
    assert [row["lr"] for row in rows] == [0.01, 0.01, 0.1, None]
    assert {"algorithm", "lr"} <= set(rows[0])
    assert not {"num-clients", "seed", "out"} & set(rows[0])
    assert "cannot be read" in rows[-1]["ended"]


@pytest.mark.parametrize(
    ("sort", "order"),
    [("lr", "b deep/c a"), ("algorithm", "a b deep/c"), ("best_round", "a b deep/c"), ("test-accuracy", "b deep/c a")],
)
def test_runs_are_sorted_by_a_key_or_a_figure(sort: str, order: str, many: Path, capsys: pytest.CaptureFixture[str]):
    lines = csv.DictReader(io.StringIO(printed(capsys, many, "--sort", sort, "--format", "csv")))
    assert [line["run"] for line in lines][:3] == order.split()


def test_the_table_is_for_people_too(many: Path, capsys: pytest.CaptureFixture[str]):
    assert "| b | fed-avg | 0.01 | 75.0 % |" in printed(capsys, many, "--format", "md")
    assert r"75.0 \%" in printed(capsys, many, "--format", "latex")
    assert "75.0 %" in printed(capsys, many)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "fedsieve: nowhere: is no folder, allowed: one with runs in it.\n"),
        (["."], "fedsieve: .: holds no run, allowed: a folder with runs in it.\n"),
    ],
)
def test_no_runs_are_one_sentence(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    assert fedsieve("runs", *arguments) == 2
    assert capsys.readouterr().err == sentence


def test_a_key_that_no_run_has_is_one_sentence(many: Path, capsys: pytest.CaptureFixture[str]):
    assert fedsieve("runs", many, "--sort", "test_acuracy") == 2
    assert capsys.readouterr().err.startswith(
        "fedsieve: sort: got 'test_acuracy' (did you mean test_accuracy?), allowed: algorithm, lr, test_accuracy, "
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_listed(many: Path, capsys: pytest.CaptureFixture[str]):
    (many / "deep").chmod(0)
    try:
        rows = json.loads(printed(capsys, many, "--format", "json"))
    finally:
        (many / "deep").chmod(0o700)
    assert [row["run"] for row in rows] == ["b", "a", "broken", "deep"]


TABLE = Table(["name", "a_b"], [["x|y", "5 %"], ["±<\\", "-"]], [["x|y", 0.05], ["±<\\", None]], title="100 %")


def test_each_format_escapes_what_means_something_there():
    assert (
        format_tables([TABLE], Format.MD) == "**100 %**\n\n| name | a_b |\n| --- | --- |\n| x\\|y | 5 % |\n| ±<\\ | - |"
    )
    assert format_tables([TABLE], Format.CSV) == "table,name,a_b\n100 %,x|y,0.05\n100 %,±<\\,"
    latex = format_tables([TABLE], Format.LATEX).splitlines()
    assert latex[:2] == ["% 100 %", r"\begin{tabular}{lr}"]
    assert r"name & a\_b \\" in latex
    assert r"$\pm$$<$\textbackslash{} & - \\" in latex
    assert json.loads(format_tables([TABLE], Format.JSON))[0] == {"table": "100 %", "name": "x|y", "a_b": 0.05}


def test_a_report_prints_its_tables_in_a_format(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "comparison.html"
    assert fedsieve("report", runs / "pub", runs / "alone", "--out", out, "--format", "md") == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("| algorithm | seeds | test % |")
    assert str(out) in shown.err
