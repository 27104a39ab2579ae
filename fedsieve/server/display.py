"""What the displays of a run and of a sweep have in common: a bar that is on the terminal for a block."""

from types import TracebackType
from typing import Self

from rich.progress import Progress


class Display:
    """Shows `_bar`, which whoever derives from this makes, while the block runs."""

    _bar: Progress

    def __enter__(self) -> Self:
        """Start the display."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the last state on the terminal."""
        self._bar.stop()
