"""A run's folder as an object: its figures as pandas frames, its models, its report."""

import io
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from fedsieve.api.given import let_workers_find
from fedsieve.api.given_data import name_dataset
from fedsieve.api.scope import leave_as_it_was
from fedsieve.api.watching import OnRound, watch
from fedsieve.config import parse, read
from fedsieve.errors import UserError
from fedsieve.predictions import tabulate_predictions
from fedsieve.reports.overview import FIGURES, list_runs
from fedsieve.reports.page import write_report
from fedsieve.runs.layout import CONFIG, RunLayout
from fedsieve.runs.reading import read_round_lines, read_run, read_timings
from fedsieve.runs.records import CLIENT_COLUMNS, ROUND_COLUMNS
from fedsieve.simulations import resume
from fedsieve.trained import load_model

OF_ROUNDS = (*ROUND_COLUMNS, "seconds")
TEXT = {"participants", "rejected"}
"""Columns of `rounds` that are no numbers."""


class Run:
    """A run, of whose folder everything is read when it is asked for.

    Args:
        folder: the run's.

    Raises:
        UserError: it is not that of a run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).absolute()
        if not RunLayout(self.folder).config.is_file():
            raise UserError(f"{folder}: holds no {CONFIG}; allowed: the folder of a run.")

    @property
    def config(self) -> dict[str, Any]:
        """Every key of the run by its dotted name."""
        return dict(read_run(self.folder).keys)

    @property
    def ended(self) -> str:
        """How it ended: "finished", "stopped", "interrupted", "failed: " and why, or "killed"."""
        return read_run(self.folder).ended

    @property
    def summary(self) -> dict[str, Any]:
        """What it has reached, as in `summary.json`."""
        return dict(read_run(self.folder).summary)

    @property
    def rounds(self) -> pd.DataFrame:
        """A row a round: means over clients, bytes, seconds; NaN where there is no figure."""
        seconds = {line["round"]: line["seconds"] for line in read_timings(self.folder)}
        lines = [line | {"seconds": seconds.get(line["round"])} for line in read_round_lines(self.folder)]
        frame = pd.DataFrame(lines, columns=OF_ROUNDS)
        numbers = [name for name in OF_ROUNDS if name not in TEXT]
        frame[numbers] = frame[numbers].apply(pd.to_numeric)
        return frame

    @property
    def clients(self) -> pd.DataFrame:
        """A row for each client in each round, as in `clients.csv`; NaN where there is no figure."""
        path = RunLayout(self.folder).clients
        text = path.read_text(encoding="utf-8") if path.exists() else ",".join(CLIENT_COLUMNS) + "\n"
        whole = text[: text.rfind("\n") + 1]  # a killed run may have cut its last line off
        return pd.read_csv(io.StringIO(whole), keep_default_na=False, na_values=[""])

    def model(self, client: int | str | None = None) -> nn.Module:
        """Return a client's trained model, or the one that all share: see `fedsieve.load_model`."""
        with leave_as_it_was():
            return load_model(self.folder, client)

    def predict(self, data: Any, client: int | str | None = None, *, probabilities: bool = False) -> pd.DataFrame:
        """Return a row for each node or image: `predicted`, its `probability`, and `label` where there are any.

        Args:
            data: a name, a path, or a graph (`Data`).
            client: whose model predicts; None: the one that all share.
            probabilities: add a column `p(NAME)` for each class.

        Raises:
            UserError: there is no such model, or it cannot predict these data.
        """
        source = str(dict(name_dataset(data))["dataset"])
        with leave_as_it_was():
            rows, _ = tabulate_predictions(self.folder, client, source, all_classes=probabilities)
        frame = pd.DataFrame(rows[1:], columns=rows[0])
        numbers = [name for name in frame if name == "probability" or name.startswith("p(")]
        frame[numbers] = frame[numbers].astype(float)
        return frame.astype({"node": int}) if "node" in frame else frame

    def compare(self, *others: "Run | str | Path") -> pd.DataFrame:
        """Return a row a run, the best first: the keys in which they differ, and what each has reached."""
        runs = [self, *(other if isinstance(other, Run) else Run(other) for other in others)]
        made = list_runs([read_run(run.folder) for run in runs])
        return pd.DataFrame(made.values, columns=made.head)

    def report(self) -> Path:
        """Write `report.html` and its figures again, and return the page."""
        return write_report(read_run(self.folder))

    def resume(self, *, on_round: OnRound | Iterable[OnRound] = (), quiet: bool = False) -> "Run":
        """Run what is left of a run that was stopped, interrupted or killed; nothing if it has finished.

        Raises:
            UserError: it cannot be resumed, or not here.
        """
        watchers = watch(on_round)
        with leave_as_it_was():
            let_workers_find(parse(read(RunLayout(self.folder).config)))
            resume(self.folder, quiet=quiet, watchers=watchers)
        return self

    def __repr__(self) -> str:
        """Return the folder and the headline."""
        return f"<Run {self._describe()} in {self.folder}>"

    def _repr_html_(self) -> str:
        """Return a small table for a notebook."""
        record = read_run(self.folder)
        figures = [(heading, show(value)) for name, (heading, show) in FIGURES.items()
                   if (value := record.summary.get(name)) is not None]  # fmt: skip
        rows = [("algorithm", str(record.summary["algorithm"])), ("data set", Path(record.dataset).name)]
        rows += [("clients", str(record.summary["num_clients"])), *figures]
        rows += [("ended", record.ended), ("folder", str(self.folder))]
        cells = "".join(f"<tr><th style='text-align: left'>{escape(name)}</th><td style='text-align: left'>"
                        f"{escape(value)}</td></tr>" for name, value in rows)  # fmt: skip
        return f"<table>{cells}</table>"

    def _describe(self) -> str:
        record = read_run(self.folder)
        accuracy = record.summary.get("test_accuracy")
        reached = "" if accuracy is None else f", test accuracy {100 * accuracy:.1f} %"
        return f"of {record.title}, {record.ended or 'ended'}{reached}"
