"""The figures of finished runs that a table of them may show."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean, median
from typing import Any

from fedsieve.errors import UserError
from fedsieve.reports.compare import format_spread
from fedsieve.runs.history import History
from fedsieve.runs.layout import CLIENTS, SUMMARY, TIMINGS
from fedsieve.runs.reading import read_round_lines, read_rounds, read_summary, read_timings
from fedsieve.runs.rounds import Round


@dataclass(frozen=True)
class Results:
    """What a run that has finished left in its folder."""

    folder: Path

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The run's summary, as it is written."""
        return read_summary(self.folder)

    @cached_property
    def rounds(self) -> tuple[Round, ...]:
        """All rounds, as `clients.csv` has them; a `UserError` where it lacks some."""
        rounds, expected = read_rounds(self.folder, whole_only=True), self.summary.get("num_rounds", 0)
        if len(rounds) < expected:
            raise UserError(
                f"{self.folder}: {CLIENTS} and {TIMINGS} hold {len(rounds)} rounds, "
                f"allowed: the {expected} of {SUMMARY}."
            )
        return rounds

    @property
    def val_accuracy(self) -> float | None:
        """The mean validation accuracy at the best round, by which it was chosen; None where no client has one."""
        best = int(self.summary["best_round"] or 0)
        if best == 0 or self.rounds[-1].means.get("val-accuracy") is None:
            return None
        return History(list(self.rounds)).validation_by_round()[best - 1]

    @property
    def cpu_seconds_per_client_round(self) -> float | None:
        """The median over rounds of CPU seconds a participant."""
        timings = read_timings(self.folder)  # a last training for the metric only has a line here alone
        shares = [
            time["cpu_seconds"] / len(line["participants"])
            for time, line in zip(timings, read_round_lines(self.folder), strict=False)
        ]
        return median(shares) if shares else None

    def megabytes_until(self, target: float | None) -> float | None:
        """Return what all clients sent and were sent until the mean validation accuracy was `target`; None if never."""
        if target is None:
            return None
        moved = 0.0
        for round_, accuracy in zip(self.rounds, History(list(self.rounds)).validation_by_round(), strict=False):
            moved += sum(reply.uplink_bytes for reply in round_.replies) + sum(round_.downlink_bytes.values())
            if accuracy >= target:
                return moved / 1e6
        return None


@dataclass(frozen=True)
class Figure:
    """A figure, and how a table shows its mean and deviation over seeds.

    Attributes:
        heading: of its column.
        of: takes a run's results and its target accuracy.
        digits: after the point.
        deviates: show the deviation; a number of bytes hardly has any.
        needs_all: show nothing unless every run has it.
    """

    heading: str
    of: Callable[[Results, float | None], float | None]
    digits: int = 1
    deviates: bool = True
    needs_all: bool = False

    def format(self, values: list[float | None], ratio: int | None = None) -> str:
        """Return `mean ± deviation` over runs, the mean of one; "-" for a figure that none has.

        Of ratios of the figure, `ratio` digits are shown.
        """
        reached = [value for value in values if value is not None]
        if not reached or (self.needs_all and len(reached) < len(values)):
            return "-"
        if ratio is not None:
            return format_spread([{"value": value} for value in reached], "value", 1, ratio)
        if not self.deviates:
            return f"{fmean(reached):,.{self.digits}f}"
        return format_spread([{"value": value} for value in reached], "value", 1, self.digits)


def _take_percent(key: str) -> Callable[[Results, float | None], float | None]:
    return lambda results, _: None if results.summary[key] is None else 100 * results.summary[key]


def _make_bytes_figure(heading: str, key: str) -> Figure:
    return Figure(heading, lambda results, _: results.summary[key], digits=0, deviates=False)


def _take_validation(results: Results, _: float | None) -> float | None:
    return None if results.val_accuracy is None else 100 * results.val_accuracy


FIGURES: dict[str, Figure] = {
    "val_accuracy": Figure("validation, %", _take_validation),
    "test_accuracy": Figure("test, %", _take_percent("test_accuracy")),
    "test_accuracy_final": Figure("after the last round, %", _take_percent("test_accuracy_final")),
    "best_round": Figure("best round", lambda results, _: results.summary["best_round"] or None),
    "test_accuracy_received": Figure("as received, %", _take_percent("test_accuracy_received")),
    "test_accuracy_global": Figure("global model, %", _take_percent("test_accuracy_global")),
    "mask_sparsity": Figure("masks zero, %", _take_percent("mask_sparsity")),
    "uplink_bytes_per_client_round": _make_bytes_figure("up, bytes", "uplink_bytes_per_client_round"),
    "uplink_payload_bytes_per_client_round": _make_bytes_figure(
        "payload up, bytes", "uplink_payload_bytes_per_client_round"
    ),
    "downlink_bytes_per_client_round": _make_bytes_figure("down, bytes", "downlink_bytes_per_client_round"),
    "megabytes_until_target": Figure(
        "MB until target", lambda results, target: results.megabytes_until(target), digits=2, needs_all=True
    ),
    "cpu_seconds_per_client_round": Figure(
        "CPU s a client-round", lambda results, _: results.cpu_seconds_per_client_round, digits=3
    ),
}
"""By the name that `[table]` of an experiment file uses: as in `summary.json`, where it is there."""
