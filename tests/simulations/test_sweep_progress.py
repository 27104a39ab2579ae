import pytest

from fedsieve.simulations.sweep_progress import SweepProgress


def shown(capfd: pytest.CaptureFixture[str], *, quiet: bool = False) -> list[str]:
    with SweepProgress(6, 1, 2, quiet=quiet) as progress:
        for name in "ab":
            progress.started(name)
        progress.ended("b", 60.0, "")
        progress.ended("a", 120.0, "out: the disk is full.")
        for name in "cde":
            progress.started(name)
            progress.ended(name, 90.0, "")
    return capfd.readouterr().err.splitlines()


def test_each_run_that_has_ended_is_told_with_what_is_left(capfd: pytest.CaptureFixture[str]):
    """Two at a time: four runs of a minute take two, three of a minute and a half two and a quarter."""
    assert shown(capfd) == [
        "1 of 6 runs had ended before",
        "run 2/6: b: 60 s; about 0:02:00 left",
        "run 3/6: a: failed: out: the disk is full.; about 0:02:15 left",
        "run 4/6: c: 90 s; about 0:01:30 left",
        "run 5/6: d: 90 s; about 0:01:30 left",
        "run 6/6: e: 90 s",
    ]


def test_quiet_shows_nothing(capfd: pytest.CaptureFixture[str]):
    assert shown(capfd, quiet=True) == []
