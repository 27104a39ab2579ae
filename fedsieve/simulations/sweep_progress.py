"""The display of a sweep: a bar on a terminal, and a line for each run that has ended."""

from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from fedsieve.server.display import Display


class SweepProgress(Display):
    """Shows which run of how many has ended, how long it took, and about how long the rest will; on standard error.

    Args:
        total: number of runs.
        done: how many had ended before.
        jobs: how many run at once.
        quiet: show nothing.
    """

    def __init__(self, total: int, done: int, jobs: int, *, quiet: bool = False) -> None:
        self._total, self._done, self._jobs, self._quiet = total, done, jobs, quiet
        self._console = Console(stderr=True)
        self._running: list[str] = []
        self._seconds: list[float] = []
        self._bar = Progress(
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, completed=done)
        if done:
            self._print(f"{done} of {total} runs had ended before")

    def started(self, name: str) -> None:
        """Show a run that begins."""
        self._running.append(name)
        self._show()

    def ended(self, name: str, seconds: float, fault: str) -> None:
        """Show a run that has ended, and what was wrong with it."""
        self._running.remove(name)
        self._done += 1
        self._seconds.append(seconds)
        outcome = f"failed: {fault}" if fault else f"{seconds:.0f} s"
        self._print(f"run {self._done}/{self._total}: {name}: {outcome}{self._left()}")
        self._show()

    def _left(self) -> str:
        remaining = self._total - self._done
        if not remaining:
            return ""
        seconds = sum(self._seconds) / len(self._seconds) * remaining / min(self._jobs, remaining)
        return f"; about {timedelta(seconds=round(seconds))} left"

    def _show(self) -> None:
        self._bar.update(self._task, completed=self._done, description=", ".join(self._running))

    def _print(self, line: str) -> None:
        if not self._quiet:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
