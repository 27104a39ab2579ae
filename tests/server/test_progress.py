import re
from collections.abc import Iterator

import pytest
from flwr.app import Message

from fedsieve.server.progress import Progress
from tests.helpers import config
from tests.messages import asking
from tests.server.test_history import a_round, answered

RUN = config(algorithm="fed-avg", dataset="digits", num_rounds=20, num_clients=100, fraction_train=0.1)


def replies(count: int) -> Iterator[Message]:
    return (asking(node) for node in range(2, 2 + count))


def means(val: float, test: float) -> dict[str, float]:
    return {"val-accuracy": val, "test-accuracy": test}


def play(progress: Progress) -> None:
    with progress:
        for number in range(1, 21):
            progress.round_finished(a_round(number, answered(0, 0.5, 0.25), means=means(0.5, 0.25)))
        assert len(list(progress.watched(replies(38), 38))) == 38
        last = a_round(21, answered(1, 0.7, 0.75), for_metric_only=True, means=means(0.6, 0.5))
        progress.round_finished(last)


def test_piped_progress_tells_rounds_and_the_last_training_in_plain_lines(capfd: pytest.CaptureFixture[str]):
    play(Progress(RUN))
    told = capfd.readouterr().err.splitlines()
    # each round moves 100 bytes up and 80 down
    assert told[0] == "fed-avg round 2/20: val 50.0 %, test 25.0 %, 360 bytes"
    assert told[9] == "fed-avg round 20/20: val 50.0 %, test 25.0 %, 3.6 kB"
    assert told[10:] == [
        "fed-avg trains 38 clients that no round sampled, for the metric only",
        *(f"fed-avg client {client}/38, for the metric only" for client in (8, 16, 23, 31, 38)),
        "fed-avg all clients: val 60.0 %, test 50.0 %, 3.8 kB",
    ]


def test_the_last_training_is_told_as_it_goes_on(capfd: pytest.CaptureFixture[str]):
    watched = iter(Progress(RUN).watched(replies(2), 2))
    next(watched)
    assert capfd.readouterr().err.splitlines() == [
        "fed-avg trains 2 clients that no round sampled, for the metric only"
    ]
    next(watched)
    assert capfd.readouterr().err.splitlines() == ["fed-avg client 1/2, for the metric only"]


def test_a_terminal_shows_a_second_bar_for_the_last_training(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    play(Progress(RUN))
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capfd.readouterr().err)
    last = shown.replace("\r", "\n").rstrip().splitlines()[-2:]
    assert re.match(r"fed-avg on digits .* 20/20 +val 60.0 %, test 50.0 %, 3.8 kB", last[0])
    assert re.match(r"clients never sampled .* 38/38 +for the metric only", last[1])


def test_a_quiet_run_shows_nothing(capfd: pytest.CaptureFixture[str]):
    play(Progress(RUN, quiet=True))
    assert capfd.readouterr() == ("", "")
