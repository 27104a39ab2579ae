"""What stands first in a run's page: what was run, how it ended, and the figures that matter, in words."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedsieve.reports.words import format_bytes, format_count, format_percent, format_seconds, format_share
from fedsieve.runs.layout import CLIENTS
from fedsieve.runs.reading import RunRecord


@dataclass(frozen=True)
class Tile:
    """One figure, with its name and its meaning."""

    name: str
    value: str
    meaning: str


_FIGURES: tuple[tuple[str, str, Callable[[Any], str], str], ...] = (
    (
        "test_accuracy_received",
        "Before local training",
        format_share,
        "test accuracy of the models as the server sent them, same round",
    ),
    (
        "test_accuracy_global",
        "One model for all",
        format_share,
        "accuracy of the global model on all clients' test data",
    ),
    ("mask_sparsity", "Sieved out", format_share, "share of zeros in the masks, mean over clients"),
    ("uplink_bytes_per_client_round", "Sent by a client", format_bytes, "a round, serialised"),
    ("downlink_bytes_per_client_round", "Sent to a client", format_bytes, "a round, serialised"),
)
"""Figures that need nothing but the summary: key, name, how it is written, meaning."""


def describe_run(run: RunRecord) -> str:
    """Return what was run, in a sentence."""
    summary = run.summary
    sampled = f", of which a round takes {run.sampled:.0%}" if run.sampled < 1 else ""
    dealt = f", dealt by the partition {summary['partition']}"
    if run.own_data:
        mixed = run.own_data < int(summary["num_clients"])
        dealt = f", which the partition {run.keys.get('partition')} deals to the others" if mixed else ""
    return (
        f"{format_count(summary['num_clients'], 'client')}{sampled}, trained with {summary['algorithm']} on "
        f"{Path(summary['dataset']).name}{dealt}; seed {summary['seed']}, "
        f"engine {summary['engine']}."
    )


def describe_end(run: RunRecord) -> str:
    """Return how the run ended, and what can be done about it."""
    done, wanted = len(run.rounds), run.wanted
    rounds = f"{done} of {wanted} rounds" if done < wanted else format_count(done, "round")
    again = f" Resume it with “fedsieve resume {run.folder}”." if run.keys.get("engine") != "flower" else ""
    if run.ended == "interrupted":
        return f"This run was interrupted after {rounds}.{again}"
    if run.ended == "stopped":
        return f"This run was stopped by its caller after {rounds}.{again}"
    if run.ended.startswith("failed"):
        return f"This run has {run.ended.rstrip('.')}. It had done {rounds}.{again}"
    if run.ended == "killed":
        return f"This run is still running, or was killed; so far it has done {rounds}.{again}"
    early = ", as validation got no better (patience)" if done < wanted and run.ended == "finished" else ""
    return f"{'Finished' if run.ended else 'Ended'} after {rounds}{early}."


def make_tiles(run: RunRecord) -> list[Tile]:
    """Return the main figures."""
    summary = run.summary
    made = []
    if summary.get("test_accuracy") is not None:
        mean, among = 100 * summary["test_accuracy"], [100 * value for value in run.accuracies.values()]
        at = f"at round {summary['best_round']}, where validation was best"
        whose = f"mean over {format_count(len(among), 'client')}, each with its own model, {at}"
        made.append(Tile("Test accuracy", format_percent(mean), whose))
        if len(among) > 1:
            made.append(
                Tile(
                    "From client to client",
                    f"± {100 * summary['test_accuracy_std']:.1f} points",
                    f"standard deviation; the least accurate has {format_percent(min(among))}, the most "
                    f"{format_percent(max(among))}",
                )
            )
    for key, name, format_, meaning in _FIGURES:
        if summary.get(key) is not None:
            made.append(Tile(name, format_(summary[key]), meaning))
    if summary.get("seconds_per_round") is not None:
        whole = f"; {format_seconds(summary['wall_seconds'])} for the whole run" if summary.get("wall_seconds") else ""
        made.append(Tile("Time a round", format_seconds(summary["seconds_per_round"]), f"median, wall clock{whole}"))
    if summary.get("rejected_replies"):
        made.append(
            Tile(
                "Replies rejected",
                f"{summary['rejected_replies']:,}",
                f"late, failed or not what was asked for; {CLIENTS} says which and why",
            )
        )
    if summary.get("lost_states"):
        made.append(
            Tile("States lost", f"{summary['lost_states']:,}", "clients that started over because their state was gone")
        )
    return made
