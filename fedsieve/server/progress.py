"""The live display of a run: a bar on a terminal, plain lines where the output is piped."""

from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from fedsieve.config import RunConfig
from fedsieve.strategies.rounds import Round

LINES = 10
"""About as many plain lines a run writes."""


class Progress:
    """Shows rounds, accuracies, bytes and the time left, on standard error; an observer of the round loop.

    Args:
        run: what is being run.
        quiet: show nothing.
    """

    def __init__(self, run: RunConfig, *, quiet: bool = False) -> None:
        self._run, self._quiet = run, quiet
        self._console = Console(stderr=True)
        self._last, self._bytes = 0, 0
        self._bar = Bar(
            TextColumn(f"{run.algorithm} on {Path(run.dataset).name}", markup=False),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("rounds", total=run.num_rounds, told="")

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
        self._bytes += sum(reply.uplink_bytes for reply in round_.replies) + sum(round_.downlink_bytes.values())
        if round_.for_metric_only:
            return
        means = round_.means
        told = ", ".join(
            f"{word} {100 * means[metric]:.1f} %"
            for word, metric in (("val", "val-accuracy"), ("test", "test-accuracy"))
            if metric in means
        )
        told += f", {self._bytes / 1e6:.1f} MB"
        if round_.rejected:
            told += f", {len(round_.rejected)} left out"
        self._bar.update(self._task, completed=round_.number, told=told)
        due = (
            round_.number == self._run.num_rounds or round_.number * LINES // max(1, self._run.num_rounds) > self._last
        )
        if due and not self._quiet and not self._console.is_terminal:
            self._last = round_.number * LINES // max(1, self._run.num_rounds)
            line = f"{self._run.algorithm} round {round_.number}/{self._run.num_rounds}: {told}"
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
