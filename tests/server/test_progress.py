import logging
import re
from collections.abc import Iterator

import pytest
from flwr.app import Message
from rich.console import Console
from rich.logging import RichHandler

from fedsieve.server.progress import Progress
from tests.helpers import config
from tests.messages import asking
from tests.runs.test_history import a_round, answered

RUN = config(algorithm="fed-avg", dataset="digits", num_rounds=20, num_clients=100, fraction_train=0.1)


def replies(count: int) -> Iterator[Message]:
    return (asking(node) for node in range(2, 2 + count))


def means(val: float, test: float) -> dict[str, float]:
    return {"val-accuracy": val, "test-accuracy": test}


def play(progress: Progress) -> None:
    with progress:
        for number in range(1, 21):
            assert len(list(progress.watched(replies(10), 10, True))) == 10
            progress.round_finished(a_round(number, answered(0, 0.5, 0.25), means=means(0.5, 0.25)))
        assert len(list(progress.watched(replies(38), 38, False))) == 38
        last = a_round(21, answered(1, 0.7, 0.75), for_metric_only=True, means=means(0.6, 0.5))
        progress.round_finished(last)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let standard error pass for a terminal of 120 columns."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    return monkeypatch


def frames(shown: str) -> list[list[str]]:
    """Return what a terminal showed, one state of the display after the other, as lines."""
    states = re.split(r"(?:\r\x1b\[2K(?:\x1b\[1A\x1b\[2K)*)", shown)
    return [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", state).rstrip("\n").split("\n") for state in states]


def test_piped_progress_tells_rounds_and_the_last_training_in_plain_lines(capfd: pytest.CaptureFixture[str]):
    play(Progress(RUN))
    told = capfd.readouterr().err.splitlines()
    # each round moves 100 bytes up and 80 down
    assert told[0] == "fed-avg round 2/20: val 50.0 %, test 25.0 %, up 200 bytes, down 160 bytes"
    assert told[9] == "fed-avg round 20/20: val 50.0 %, test 25.0 %, up 2.0 kB, down 1.6 kB"
    assert told[10:] == [
        "fed-avg trains 38 clients that no round sampled, for the metric only",
        *(f"fed-avg client {client}/38, for the metric only" for client in (8, 16, 23, 31, 38)),
        "fed-avg all clients: val 60.0 %, test 50.0 %, up 2.1 kB, down 1.7 kB",
    ]


def test_the_last_training_is_told_as_it_goes_on(capfd: pytest.CaptureFixture[str]):
    watched = iter(Progress(RUN).watched(replies(2), 2, False))
    next(watched)
    assert capfd.readouterr().err.splitlines() == [
        "fed-avg trains 2 clients that no round sampled, for the metric only"
    ]
    next(watched)
    assert capfd.readouterr().err.splitlines() == ["fed-avg client 1/2, for the metric only"]


def test_a_terminal_shows_a_second_bar_for_the_last_training(
    terminal: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    play(Progress(RUN))
    last = frames(capfd.readouterr().err)[-1]
    assert re.match(r"fed-avg on digits ━+ round 20/20 10/10 clients val 60.0 %  ↑2.1 kB ↓1.7 kB  test 50.0 %", last[0])
    assert re.match(r"not sampled +━+ metric only 38/38 clients ", last[1])
    assert len(last) == 2


def test_a_terminal_shows_the_clients_of_the_round_so_far(
    terminal: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    past = [a_round(number, answered(0, 0.5, 0.25), means=means(0.5, 0.25)) for number in (1, 2, 3)]
    with Progress(RUN, past=past) as progress:
        watched = progress.watched(replies(10), 10, True)
        for _ in range(5):  # the fifth reply is being looked at
            next(watched)
    (line,) = frames(capfd.readouterr().err)[-1]
    assert re.match(r"fed-avg on digits ━+.* round 4/20 4/10 clients ", line)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_no_line_of_the_display_is_wider_than_the_terminal(
    width: int, terminal: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    terminal.setenv("COLUMNS", str(width))
    play(Progress(RUN.model_copy(update={"algorithm": "hide-n-seek", "num_rounds": 1000})))
    shown = frames(capfd.readouterr().err)
    assert max(len(line) for frame in shown for line in frame) <= width
    assert max(len(frame) for frame in shown) == 2
    if width >= 60:
        assert "val 60.0 %" in shown[-1][0]


def test_a_line_of_the_log_comes_above_the_display(terminal: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    log = logging.getLogger("fedsieve")
    log.handlers = [RichHandler(console=Console(stderr=True), show_time=False, show_path=False)]
    with Progress(RUN):
        log.warning("a warning")
    last = frames(capfd.readouterr().err)
    assert any(frame[0].startswith("WARNING  a warning") and frame[1].startswith("fed-avg on ") for frame in last)
    assert not any("WARNING" in line[1:] for frame in last for line in frame)


def test_a_quiet_run_shows_nothing(capfd: pytest.CaptureFixture[str]):
    play(Progress(RUN, quiet=True))
    assert capfd.readouterr() == ("", "")
