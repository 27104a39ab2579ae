import logging
from pathlib import Path

import pytest

from fedsieve.errors import UserError
from fedsieve.reports import ending
from fedsieve.reports.ending import draw, report_at_end
from tests.reports.made_up import write_run


@pytest.fixture
def drawings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders whose report was drawn; nothing is."""
    found: list[Path] = []
    monkeypatch.setattr(ending, "draw", found.append)
    return found


def refuse(_: object) -> None:
    raise UserError("the disk is full.")


def interrupted(folder: Path) -> None:
    write_run(folder, clients=2)
    raise KeyboardInterrupt


def test_a_run_that_ends_is_drawn_once(tmp_path: Path, drawings: list[Path]):
    with report_at_end(tmp_path / "run"):
        write_run(tmp_path / "run", clients=2)
        assert drawings == []
    assert drawings == [tmp_path / "run"]


def test_a_run_that_is_interrupted_is_drawn_too(tmp_path: Path, drawings: list[Path]):
    with pytest.raises(KeyboardInterrupt), report_at_end(tmp_path / "run"):
        interrupted(tmp_path / "run")
    assert drawings == [tmp_path / "run"]


def test_a_run_without_a_new_summary_is_not_drawn(tmp_path: Path, drawings: list[Path]):
    with report_at_end(tmp_path / "none"):
        pass
    folder = write_run(tmp_path / "run", clients=2)
    with pytest.raises(UserError, match="no such run"), report_at_end(folder):
        raise UserError("no such run")
    assert drawings == []


def test_a_run_that_had_ended_gets_the_report_that_is_missing(tmp_path: Path, drawings: list[Path]):
    folder = write_run(tmp_path / "run", clients=2)
    with report_at_end(folder):
        pass
    (folder / "report.html").touch()
    with report_at_end(folder):
        pass
    assert drawings == [folder]


def test_a_report_that_cannot_be_written_does_not_hide_why_the_run_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ending, "draw", refuse)
    with pytest.raises(KeyboardInterrupt), report_at_end(tmp_path / "run"):
        interrupted(tmp_path / "run")
    with pytest.raises(UserError, match="disk is full"), report_at_end(tmp_path / "other"):
        write_run(tmp_path / "other", clients=2)


def test_a_report_that_fails_is_a_warning(
    drawn: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(_: object) -> None:
        raise ZeroDivisionError("no\nclients")

    folder = write_run(tmp_path / "run", clients=2)
    monkeypatch.setattr(ending, "write_report", fail)
    with caplog.at_level(logging.WARNING):
        draw(folder)
    assert f"report.html could not be made: no clients; `fedsieve report {folder}` tries again" in caplog.text
