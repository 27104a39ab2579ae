"""One self-contained HTML page that compares runs, and a PNG file of each of its figures."""

from collections.abc import Sequence
from pathlib import Path

from fedsieve.errors import UserError
from fedsieve.reports.compare import CAPTION, rows_of
from fedsieve.reports.courses import courses
from fedsieve.reports.figure import Section, Table
from fedsieve.reports.html import GENERATOR, filled
from fedsieve.reports.page import write_page
from fedsieve.reports.paired import pairings, repeated
from fedsieve.reports.settings import Setting, labels_of, stopped, title_of
from fedsieve.reports.style import COMPARISON_PAGE
from fedsieve.reports.words import counted
from fedsieve.runs.layout import RunLayout

PAGE = Path("comparison.html")
"""Where a comparison goes unless it is told."""

PNG_NAMES = {"over-rounds.png", "over-bytes.png", "over-seconds.png"}


def write_comparison(path: Path, settings: Sequence[Setting]) -> Path:
    """Write the page to `path`, and its figures into a folder of its name beside it, which is returned.

    Raises:
        UserError: there is a file already that is no page of ours, or it cannot be written.
    """
    check_ours(path)
    found = [Section("Accuracy, and what it takes", courses(settings))]
    algorithms = dict.fromkeys(setting.runs[0].summary["algorithm"] for setting in settings)
    page = filled(
        COMPARISON_PAGE,
        title=f"{counted(len(settings), 'setting')} compared: {', '.join(algorithms)}",
        told=f"All have in common: {title_of(settings) or 'nothing of data set, partition, clients and rounds'}.",
        rows=rows_of(settings),
        rows_told=[f"{CAPTION[0].upper()}{CAPTION[1:]}. Mean ± standard deviation over seeds.", *stopped(settings)],
        paired=paired_rows(settings),
        paired_told=paired_told(settings),
        sections=found,
    )
    figures = path.with_name(f"{path.stem}-figures")
    write_page(path, page, figures, found, PNG_NAMES)
    return figures


def check_ours(path: Path) -> None:
    """Raise a `UserError` where there is something at `path` that is no page of ours, or where a run's page belongs."""
    place, run = path.resolve(), RunLayout(path.resolve().parent)
    if place == run.report and (run.summary.exists() or run.clients.exists()):
        raise UserError(f"--out: {path} is the page of the run in that folder, allowed: another name.")
    try:
        ours = not path.exists() or f'name="generator" content="{GENERATOR} ' in path.read_text("utf-8")[:400]
    except (OSError, UnicodeDecodeError):
        ours = False
    if not ours:
        raise UserError(f"--out: {path} is no report of FedSieve's, and is left as it is; give another name.")


def paired_rows(settings: Sequence[Setting]) -> Table:
    """Return each setting's difference from the first, where there are pairs."""
    head = ["setting", "against", "test accuracy, points", "seeds", "pairs", "clients that do better"]
    names = labels_of(settings)
    rows = [
        [
            name,
            names[0],
            found.told,
            ", ".join(map(str, found.seeds)),
            found.pairs,
            f"{found.better} of {found.clients}",
        ]
        for name, found in zip(names[1:], pairings(settings), strict=True)
        if found.by_seed
    ]
    return Table(head, rows)


def paired_told(settings: Sequence[Setting]) -> list[str]:
    """Return how the differences were taken, and which settings cannot be paired and why."""
    names = labels_of(settings)
    if len(settings) < 2:
        return ["There is one setting only: differences need two."]
    found = list(zip(names[1:], pairings(settings), strict=True))
    told = []
    if any(pairing.by_seed for _, pairing in found):
        told.append(
            "Test accuracy of the same client in two runs of one seed, each at its run's best round: mean over "
            "clients, then mean ± standard deviation over seeds."
        )
        told += [
            f"{name} has several runs of seed {seed}, of which the one that was named last is paired."
            for name, setting in zip(names, settings, strict=True)
            for seed in repeated(setting)
        ]
    unpaired: dict[str, list[str]] = {}
    for name, pairing in found:
        if pairing.reason:
            unpaired.setdefault(pairing.reason, []).append(name)
    return told + [
        f"{'; '.join(others)} cannot be paired with {names[0]}, as {reason}." for reason, others in unpaired.items()
    ]
