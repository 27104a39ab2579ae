"""Trackers: what else records a run's rounds, found in the entry-point group `fedsieve.trackers`."""

import importlib.util
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, cast

from fedsieve import plugins
from fedsieve.config import RunConfig
from fedsieve.errors import UserError, one_line
from fedsieve.files import write_whole
from fedsieve.keys import TRACKERS
from fedsieve.runs.layout import RunLayout
from fedsieve.runs.rounds import Round

_log = logging.getLogger("fedsieve")


class Tracker(Protocol):
    """Records the rounds of one run elsewhere; made as `Tracker(run, folder, past)`.

    `run` is the run's configuration, `folder` the run's, and `past` are the rounds that a resumed run has behind it. A
    class that needs a package names it in `requires`. Whatever it raises is a warning, and ends the tracker alone.
    """

    def __init__(self, run: RunConfig, folder: Path, past: Sequence[Round]) -> None: ...

    def round_finished(self, round_: Round) -> None:
        """Record a round; one `for_metric_only` has combined nothing."""

    def close(self, ended: str) -> None:
        """Record how the run has ended: "finished", "stopped", "interrupted" or "failed: " and why."""


def load_tracker(name: str) -> type[Tracker]:
    """Return the class of a tracker.

    Raises:
        UserError: there is none of this name, or it cannot be used.
    """
    return cast(type[Tracker], plugins.load(TRACKERS, name, "trackers", _find_faults))


def check_trackers(run: RunConfig) -> None:
    """Raise a `UserError` where a tracker is asked for that cannot be used here, or whose package is not installed."""
    for name in run.tracker_names:
        package = getattr(load_tracker(name), "requires", "")
        if package and importlib.util.find_spec(package) is None:
            by_flag = name == "tensorboard" and run.tensorboard
            given = "tensorboard: got true" if by_flag else f"trackers: got {name!r}"
            raise UserError(
                f"{given}, but the package {package} is not installed; allowed: with it, by "
                f"pip install 'fedsieve[{name}]', or {'false' if by_flag else 'without ' + name}."
            )


class Tracking:
    """The trackers of a run; an observer of the round loop that none of them can end.

    Args:
        run: what is being run; its keys name the trackers.
        folder: the run's.
        past: the rounds of a run that is resumed.

    Attributes:
        ended: how the run has ended, which the trackers are told when the block ends.
    """

    def __init__(self, run: RunConfig, folder: Path, past: Sequence[Round] = ()) -> None:
        self.ended = "failed"
        self._trackers: dict[str, Tracker] = {}
        for name in run.tracker_names:
            with self._guarded(name):
                self._trackers[name] = load_tracker(name)(run, folder, past)

    def __enter__(self) -> "Tracking":
        """Return it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the trackers."""
        for name, tracker in list(self._trackers.items()):
            with self._guarded(name):
                tracker.close(self.ended)

    def round_finished(self, round_: Round) -> None:
        """Let each record the round."""
        for name, tracker in list(self._trackers.items()):
            with self._guarded(name):
                tracker.round_finished(round_)

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._trackers.pop(name, None)
            fault = f"{type(error).__name__}: {one_line(error)}".rstrip(".")
            _log.warning("the tracker %s has failed (%s); the run continues without it", name, fault)


def read_name(folder: Path, tracker: str) -> str:
    """Return what a tracker calls the run, "" where it does not know it yet."""
    try:
        return str(json.loads(RunLayout(folder).trackers.read_text(encoding="utf-8")).get(tracker, ""))
    except (OSError, ValueError, AttributeError):
        return ""


def write_name(folder: Path, tracker: str, name: str) -> None:
    """Note what a tracker calls the run."""
    path = RunLayout(folder).trackers
    try:
        names: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        names = {}
    write_whole(path, (json.dumps(names | {tracker: name}, indent=2) + "\n").encode())


def _find_faults(registered: object) -> Iterator[str]:
    lacking = [name for name in ("round_finished", "close") if not callable(getattr(registered, name, None))]
    if not isinstance(registered, type) or lacking:
        yield "is not a class with the methods round_finished and close"
