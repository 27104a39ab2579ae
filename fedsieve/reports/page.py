"""One self-contained HTML page a run: accuracies by round, each client's accuracy, figures and settings."""

import json
from html import escape
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
figure { margin: 1.5rem 0; background: #fff; border-radius: 6px; overflow-x: auto; }
svg { width: 100%; height: auto; }
table { border-collapse: collapse; } td { padding: .15rem 1rem .15rem 0; vertical-align: top; }
pre { overflow-x: auto; }
"""

MANY = 200
"""Clients above which each has no bar of its own: drawing and naming 10,000 takes as long as their training."""


def report_page(folder: Path) -> str:
    """Return the page of the run in `folder`, from its `summary.json`, `rounds.jsonl` and `config.toml`."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    lines = folder / "rounds.jsonl"
    rounds = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()] if lines.exists() else []
    title = f"{summary['algorithm']} on {Path(summary['dataset']).name}"
    figures = [_svg(_accuracy_by_round(rounds)), _svg(_accuracy_by_client(summary))] if rounds else []
    parts = [f"<h1>{escape(title)}</h1>"]
    parts += [f"<figure>{svg}</figure>" for svg in figures] or ["<p>No round was finished.</p>"]
    parts += ["<h2>Figures</h2>", _table(summary)]
    parts += ["<h2>Settings</h2>", f"<pre>{escape((folder / 'config.toml').read_text(encoding='utf-8'))}</pre>"]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: "Figure") -> str:
    import matplotlib as mpl

    text = StringIO()
    with mpl.rc_context({"svg.hashsalt": "fedsieve"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue().partition("<svg")[1] + text.getvalue().partition("<svg")[2]


def _accuracy_by_round(rounds: list[dict[str, Any]]) -> "Figure":
    figure = _figure(8, 3.6)
    axes = figure.subplots()
    numbers = [line["round"] for line in rounds]
    for key, label, style in (
        ("val_accuracy", "validation", "-"),
        ("test_accuracy", "test", "--"),
        ("test_accuracy_received", "test, as received", ":"),
    ):
        axes.plot(numbers, [_percent(line[key]) for line in rounds], style, label=label)
    axes.set(xlabel="round", ylabel="mean accuracy over clients, %")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    return figure


def _accuracy_by_client(summary: dict[str, Any]) -> "Figure":
    figure = _figure(8, 3)
    axes = figure.subplots()
    measured = {
        client: value for client, value in (summary["test_accuracy_per_client"] or {}).items() if value is not None
    }
    accuracies = [_percent(value) for value in measured.values()]
    if len(measured) > MANY:
        axes.plot(range(1, len(measured) + 1), sorted(accuracies))
        axes.grid(alpha=0.3)
    else:
        axes.bar(list(measured), accuracies)
        axes.tick_params(axis="x", labelrotation=90 if len(measured) > 20 else 0)
    told = f"{len(measured)} clients, from the lowest accuracy to the highest" if len(measured) > MANY else "client"
    axes.set(xlabel=told, ylabel="test accuracy, %", title=f"at the best round, {summary['best_round']}")
    return figure


def _percent(value: float | None) -> float:
    return float("nan") if value is None else 100 * value


def _table(summary: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{escape(key)}</td><td>{escape(_told(key, value))}</td></tr>"
        for key, value in summary.items()
        if key != "test_accuracy_per_client"
    )
    return f"<table>{rows}</table>"


def _told(key: str, value: Any) -> str:
    if "_bytes_" in key and value is not None and value >= 1000:
        return f"{value:,.1f} ({decimal(round(value))})"
    return value if isinstance(value, str) else json.dumps(value)
