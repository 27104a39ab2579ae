"""The live display of a run: a bar on a terminal, plain lines where the output is piped."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from flwr.app import Message
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from fedsieve.config import RunConfig
from fedsieve.strategies.rounds import Round

LINES = 10
"""About as many plain lines a run's rounds write; a last training for the metric only writes half as many."""


class Progress:
    """Shows rounds, accuracies, bytes and the time left, on standard error; an observer of the round loop.

    Args:
        run: what is being run.
        quiet: show nothing.
        past: the rounds of a run that goes on.
    """

    def __init__(self, run: RunConfig, *, quiet: bool = False, past: Sequence[Round] = ()) -> None:
        self._run, self._quiet = run, quiet
        self._console = Console(stderr=True)
        self._bytes = sum(map(_moved, past))
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task(f"{run.algorithm} on {Path(run.dataset).name}", total=run.num_rounds, told="")
        if past:
            self._bar.update(self._task, completed=past[-1].number)
            self._print(f"goes on after round {past[-1].number}/{run.num_rounds}")

    def __enter__(self) -> "Progress":
        """Start the display."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the last state on the terminal."""
        self._bar.stop()

    def round_finished(self, round_: Round) -> None:
        """Show the round."""
        self._bytes += _moved(round_)
        means = round_.means
        told = ", ".join(
            f"{word} {100 * means[metric]:.1f} %"
            for word, metric in (("val", "val-accuracy"), ("test", "test-accuracy"))
            if metric in means
        )
        told += f", {decimal(self._bytes)}"
        if round_.rejected:
            told += f", {len(round_.rejected)} left out"
        if round_.for_metric_only:
            self._bar.update(self._task, told=told)
            self._print(f"all clients: {told}")
            return
        self._bar.update(self._task, completed=round_.number, told=told)
        if _is_due(round_.number, self._run.num_rounds, LINES):
            self._print(f"round {round_.number}/{self._run.num_rounds}: {told}")

    def watched(self, replies: Iterable[Message], expected: int) -> Iterator[Message]:
        """Yield the replies of the clients that no round sampled, and show how many there have been."""
        task = self._bar.add_task("clients never sampled", total=expected, told="for the metric only")
        self._print(f"trains {expected} clients that no round sampled, for the metric only")
        for number, reply in enumerate(replies, 1):
            yield reply
            self._bar.update(task, completed=number)
            if _is_due(number, expected, LINES // 2):
                self._print(f"client {number}/{expected}, for the metric only")

    def _print(self, line: str) -> None:
        """Write a plain line where there is no bar."""
        if not self._quiet and not self._console.is_terminal:
            self._console.print(f"{self._run.algorithm} {line}", highlight=False, markup=False, soft_wrap=True)


def _moved(round_: Round) -> int:
    return sum(reply.uplink_bytes for reply in round_.replies) + sum(round_.downlink_bytes.values())


def _is_due(step: int, total: int, lines: int) -> bool:
    """Return whether step `step` of `total` is the last, or one of about `lines` that are spread evenly."""
    return step == total or step * lines // total > (step - 1) * lines // total
