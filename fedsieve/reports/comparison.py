"""One self-contained HTML page that compares runs, and a PNG file of each of its figures."""

from collections.abc import Sequence
from pathlib import Path

from fedsieve.errors import UserError
from fedsieve.reports.compare import CAPTION, tabulate
from fedsieve.reports.courses import draw_courses
from fedsieve.reports.figure import Section, Table
from fedsieve.reports.html import GENERATOR, fill_template
from fedsieve.reports.page import write_page
from fedsieve.reports.paired import find_repeated_seeds, pair_with_first
from fedsieve.reports.settings import Setting, list_stopped, make_labels, make_title
from fedsieve.reports.words import format_count
from fedsieve.runs.layout import RunLayout

PAGE = Path("comparison.html")
"""Where a comparison goes unless it is named."""

PNG_NAMES = {"over-rounds.png", "over-bytes.png", "over-seconds.png"}


def write_comparison(path: Path, settings: Sequence[Setting]) -> Path:
    """Write the page to `path`, and its figures into a folder of its name beside it, which is returned.

    Raises:
        UserError: there is a file already that is no page of ours, or it cannot be written.
    """
    check_ours(path)
    sections = [Section("Accuracy, and what it takes", draw_courses(settings))]
    algorithms = dict.fromkeys(setting.runs[0].summary["algorithm"] for setting in settings)
    page = fill_template(
        "comparison.html",
        title=f"{format_count(len(settings), 'setting')} compared: {', '.join(algorithms)}",
        shared=f"All have in common: {make_title(settings) or 'nothing of data set, partition, clients and rounds'}.",
        rows=tabulate(settings),
        row_notes=[
            f"{CAPTION[0].upper()}{CAPTION[1:]}. Mean ± standard deviation over seeds.",
            *list_stopped(settings),
        ],
        pairs=tabulate_pairs(settings),
        pair_notes=describe_pairs(settings),
        sections=sections,
    )
    figures = path.with_name(f"{path.stem}-figures")
    write_page(path, page, figures, sections, PNG_NAMES)
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


def tabulate_pairs(settings: Sequence[Setting]) -> Table:
    """Return each setting's difference from the first, where there are pairs."""
    head = ["setting", "against", "test accuracy, points", "seeds", "pairs", "clients that do better"]
    names = make_labels(settings)
    rows = [
        [
            name,
            names[0],
            pairing.difference,
            ", ".join(map(str, pairing.seeds)),
            pairing.counts,
            f"{pairing.better} of {pairing.clients}",
        ]
        for name, pairing in zip(names[1:], pair_with_first(settings), strict=True)
        if pairing.by_seed
    ]
    return Table(head, rows)


def describe_pairs(settings: Sequence[Setting]) -> list[str]:
    """Return how the differences were taken, and which settings cannot be paired and why."""
    names = make_labels(settings)
    if len(settings) < 2:
        return ["There is one setting only: differences need two."]
    pairings = list(zip(names[1:], pair_with_first(settings), strict=True))
    notes = []
    if any(pairing.by_seed for _, pairing in pairings):
        notes.append(
            "Test accuracy of the same client in two runs of one seed, each at its run's best round: mean over "
            "clients, then mean ± standard deviation over seeds."
        )
        notes += [
            f"{name} has several runs of seed {seed}, of which the one that was named last is paired."
            for name, setting in zip(names, settings, strict=True)
            for seed in find_repeated_seeds(setting)
        ]
    unpaired: dict[str, list[str]] = {}
    for name, pairing in pairings:
        if pairing.reason:
            unpaired.setdefault(pairing.reason, []).append(name)
    return notes + [
        f"{'; '.join(others)} cannot be paired with {names[0]}, as {reason}." for reason, others in unpaired.items()
    ]
