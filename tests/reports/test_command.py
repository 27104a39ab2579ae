from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fedsieve.errors import UserError
from fedsieve.reports.command import report
from tests.reports.made_up import write_run


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"algorithm": "fed-prox"}, "alone is a run of fed-prox, allowed: one of local."),
        ({"dataset": "citeseer"}, "they differ in dataset"),
        ({"seed": 7}, "they differ in seed"),
    ],
)
def test_clients_are_not_set_against_others(changes: dict[str, Any], sentence: str, tmp_path: Path):
    run = write_run(tmp_path / "run", 3)
    alone = write_run(tmp_path / "alone", 3, **({"algorithm": "local"} | changes))
    with pytest.raises(UserError, match=sentence):
        report([run], alone, None, print, Console(quiet=True))
    assert not (run / "report.html").exists()


def test_of_several_runs_the_local_one_of_the_same_data_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    runs = [write_run(tmp_path / f"run-{seed}", 2, seed=seed) for seed in (1, 2, 3)]
    alone = [write_run(tmp_path / f"alone-{seed}", 2, seed=seed, algorithm="local") for seed in (2, 1)]
    taken: dict[str, str | None] = {}

    def note(run: Any, local: Any) -> Path:
        taken[run.folder.name] = local and local.folder.name
        return run.folder / "report.html"

    monkeypatch.setattr("fedsieve.reports.command.write_report", note)
    monkeypatch.setattr("fedsieve.reports.command.write_comparison", lambda path, settings: path)
    report([*runs, *alone], None, tmp_path / "all.html", lambda line: None, Console(quiet=True))
    assert taken == {"run-1": "alone-1", "run-2": "alone-2", "run-3": None, "alone-2": None, "alone-1": None}


def test_a_folder_given_twice_is_no_second_seed(tmp_path: Path):
    run, other = write_run(tmp_path / "run", 2), write_run(tmp_path / "other", 2, seed=7)
    again, lines = tmp_path / "other" / ".." / "run", list[str]()
    report([run, other, again], None, tmp_path / "all.html", lines.append, Console(quiet=True))
    assert lines[0] == f"{again} is given more than once, and counts once."
    assert "<td>42, 7</td>" in (tmp_path / "all.html").read_text()
    with pytest.raises(UserError, match="got one run"):
        report([run, again], None, tmp_path / "all.html", lines.append, Console(quiet=True))


@pytest.mark.parametrize("there", [True, False])
def test_a_comparison_does_not_replace_a_runs_page(there: bool, tmp_path: Path):
    run, other = write_run(tmp_path / "run", 2), write_run(tmp_path / "other", 2, seed=7)
    page = other / "report.html"
    if there:
        report([other], None, None, lambda line: None, Console(quiet=True))
    with pytest.raises(UserError, match=r"--out: .*is the page of the run in that folder"):
        report([run, run / ".." / "other"], None, run / ".." / "other" / "report.html", print, Console(quiet=True))
    assert page.exists() == there
    assert not (run / "report.html").exists()
