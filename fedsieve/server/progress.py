"""The live display of a run: a line on a terminal, plain lines where the output is piped."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from flwr.app import Message
from rich.console import Console
from rich.filesize import decimal
from rich.logging import RichHandler
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from fedsieve.config import RunConfig
from fedsieve.runs.rounds import Round
from fedsieve.server.display import Display

LINES = 10
"""About as many plain lines a run's rounds write; a last training for the metric only writes half as many."""

WIDE, NARROW = 100, 70
"""Columns of a terminal from which the data set is named, and below which there is no bar and no count of clients."""


class Progress(Display):
    """Shows rounds, clients, accuracies, bytes and the time left, on standard error; an observer of the round loop.

    Args:
        run: what is being run.
        quiet: show nothing.
        past: the rounds of a run that is resumed.
    """

    def __init__(self, run: RunConfig, *, quiet: bool = False, past: Sequence[Round] = ()) -> None:
        self._run, self._quiet = run, quiet
        self._console = _find_console()
        self._up, self._down = sum(map(_up, past)), sum(map(_down, past))
        self._finished = past[-1].number if past else 0
        self._bar = Bar(
            *_make_columns(self._console.width),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        wide = self._console.width >= WIDE
        name = f"{run.algorithm} on {Path(run.dataset).name}" if wide else run.algorithm
        self._task = self._bar.add_task(
            name,
            total=run.num_rounds,
            completed=self._finished,
            stage=self._stage(self._finished),
            clients="",
            details="",
        )
        if past:
            self._print(f"resumes after round {past[-1].number}/{run.num_rounds}")

    def round_finished(self, round_: Round) -> None:
        """Show the round."""
        self._up, self._down = self._up + _up(round_), self._down + _down(round_)
        val, test = (_format_accuracy(round_, word) for word in ("val", "test"))
        rejected = [f"{len(round_.rejected)} rejected"] if round_.rejected else []
        up, down = ("up ", "down ") if self._console.options.ascii_only else ("↑", "↓")
        sizes = [f"{up}{decimal(self._up)} {down}{decimal(self._down)}"]
        self._bar.update(self._task, details="  ".join(val + rejected + sizes + test))  # what is cut off comes last
        sizes = [f"up {decimal(self._up)}", f"down {decimal(self._down)}"]
        sentence = ", ".join(val + test + sizes + rejected)
        if round_.for_metric_only:
            self._print(f"all clients: {sentence}")
            return
        self._finished = round_.number
        self._bar.update(self._task, completed=round_.number, stage=self._stage(round_.number))
        if _is_due(round_.number, self._run.num_rounds, LINES):
            self._print(f"round {round_.number}/{self._run.num_rounds}: {sentence}")

    def watched(self, replies: Iterable[Message], expected: int, combine: bool) -> Iterator[Message]:
        """Yield a round's replies and show how many there have been.

        Those of clients that no round sampled, which are not to be combined, have a line of their own.
        """
        task, before = self._task, self._finished
        if combine:
            self._bar.update(task, stage=self._stage(before + 1))
        else:
            task, before = self._bar.add_task("not sampled", total=1, stage="metric only", clients="", details=""), 0
            self._print(f"trains {expected} clients that no round sampled, for the metric only")
        self._bar.update(task, clients=f"0/{expected} clients")
        for number, reply in enumerate(replies, 1):
            yield reply
            self._bar.update(task, completed=before + number / expected, clients=f"{number}/{expected} clients")
            if not combine and _is_due(number, expected, LINES // 2):
                self._print(f"client {number}/{expected}, for the metric only")

    def _stage(self, number: int) -> str:
        return f"round {number}/{self._run.num_rounds}"

    def _print(self, line: str) -> None:
        """Write a plain line where there is no bar."""
        if not self._quiet and not self._console.is_terminal:
            self._console.print(f"{self._run.algorithm} {line}", highlight=False, markup=False, soft_wrap=True)


def _find_console() -> Console:
    """Return the console of the log, so that its lines come above the display and not into it; another without one."""
    handlers = logging.getLogger("fedsieve").handlers
    consoles = (handler.console for handler in handlers if isinstance(handler, RichHandler) and handler.console.stderr)
    return next(consoles, None) or Console(stderr=True)


class _Cut(ProgressColumn):
    """A field that is cut off where there is no room for it, so that a task never takes two lines."""

    def render(self, task: Task) -> Text:
        """Return the field."""
        return Text(task.fields["details"], no_wrap=True, overflow="ellipsis")


def _make_columns(width: int) -> list[ProgressColumn]:
    """Return what there is room for in a terminal of `width` columns."""
    name, stage, clients = (
        TextColumn(f"{{task.{field}}}", markup=False) for field in ("description", "fields[stage]", "fields[clients]")
    )
    bar = BarColumn(bar_width=12 if width >= WIDE else 8)
    if width < NARROW:
        return [name, stage, _Cut(), TimeRemainingColumn()]
    return [name, bar, stage, clients, _Cut(), TimeRemainingColumn()]


def _format_accuracy(round_: Round, word: str) -> list[str]:
    means, metric = round_.means, f"{word}-accuracy"
    return [f"{word} {100 * means[metric]:.1f} %"] if metric in means else []


def _up(round_: Round) -> int:
    return sum(reply.uplink_bytes for reply in round_.replies)


def _down(round_: Round) -> int:
    return sum(round_.downlink_bytes.values())


def _is_due(step: int, total: int, lines: int) -> bool:
    """Return whether step `step` of `total` is the last, or one of about `lines` that are spread evenly."""
    return step == total or step * lines // total > (step - 1) * lines // total
