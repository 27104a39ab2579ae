"""A run's folder as a report needs it: summary, settings, and every client's numbers by round."""

import csv
import json
from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from fedsieve.config import parse, read
from fedsieve.contract import COUNT_OF, NDArray
from fedsieve.errors import UserError, one_line
from fedsieve.runs.checkpoint_folder import newest_manifest, server_file
from fedsieve.runs.folder import read_summary
from fedsieve.runs.history import History
from fedsieve.runs.records import METRIC_ONLY, METRICS, read_rounds

COLUMNS = ("train_loss", "test_accuracy", "mask_sparsity")
"""Of `clients.csv`, those that figures show each client in."""

COUNTS = {column: COUNT_OF[METRICS[column]].replace("-", "_") for column in COLUMNS if METRICS[column] in COUNT_OF}
"""The column that says how much data a number was taken on: it counts only where that is some."""

UNREADABLE = (OSError, ValueError, KeyError, TypeError, IndexError)
"""What a run's folder raises that is cut off, altered, or that of something else."""


@dataclass(frozen=True)
class Similarity:
    """How alike the server found its clients' models, `matrix` K x K, after `round`; `clients` are its rows' ids."""

    round: int
    clients: list[int]
    matrix: NDArray


@dataclass(frozen=True)
class RunRecord:
    """What a run has left.

    Attributes:
        summary: as in `summary.json`; made from the records where the run was killed before it could write one.
        ended: "finished", "interrupted", "failed: " and why, "killed" where no summary was written, or "" where that is
            not known.
        settings: the text of `config.toml`.
        keys: every key by its dotted name.
        rounds: the lines of `rounds.jsonl`.
        numbers: of the rounds, R.
        clients: ids, C, sorted, of those that took part.
        by_client: `COLUMNS`, each R x C, NaN where a client had no part in a round or no data.
        times: `seconds` and `cpu_seconds` of each round, R each, NaN where they were not written.
        similarity: the server's last, where the algorithm compares models.
    """

    folder: Path
    summary: dict[str, Any]
    ended: str
    settings: str
    keys: dict[str, Any]
    rounds: list[dict[str, Any]]
    numbers: NDArray
    clients: list[int]
    by_client: dict[str, NDArray]
    times: dict[str, NDArray]
    similarity: Similarity | None

    @cached_property
    def title(self) -> str:
        """The algorithm and the data set."""
        return f"{self.summary['algorithm']} on {Path(self.summary['dataset']).name}"

    @property
    def dataset(self) -> str:
        """The data set's name or, of one's own, its whole path: the summary has it as it was typed."""
        return str(self.keys.get("dataset", self.summary["dataset"]))

    @property
    def sampled(self) -> float:
        """The share of the clients that a round takes; all where that is not known."""
        return float(self.keys.get("fraction-train", 1.0))

    @property
    def wanted(self) -> int:
        """Rounds that it was to do; it may have stopped before."""
        return int(self.keys.get("num-rounds", self.summary["num_rounds"]))

    def means(self, column: str) -> NDArray:
        """Return a column of `rounds.jsonl`, R, NaN where it says nothing."""
        return np.array([_number(line.get(column)) for line in self.rounds], dtype=np.float64)

    def standing(self, column: str) -> NDArray:
        """Return `by_client`, R x C, with a client's last number where it took no part, as the means have it."""
        values = self.by_client[column].copy()
        for before, row in pairwise(values):
            np.copyto(row, before, where=np.isnan(row))
        return values

    @property
    def accuracies(self) -> dict[int, float]:
        """Test accuracy, 0 to 1, of each client that has test data, by id, at the best round."""
        found = self.summary.get("test_accuracy_per_client") or {}
        return {int(client): float(value) for client, value in found.items() if value is not None}


def read_run(folder: Path) -> RunRecord:
    """Read a run's folder.

    Raises:
        UserError: it is not that of a run, or what it holds cannot be read.
    """
    config = folder / "config.toml"
    if not (folder / "summary.json").exists() and not ((folder / "clients.csv").exists() and config.exists()):
        read_summary(folder)  # raises
    try:
        settings = config.read_text(encoding="utf-8") if config.exists() else ""
        keys = _keys(config) if config.exists() else {}
        lines = _json_lines(folder / "rounds.jsonl")
        summary, ended = _summary(folder, keys, len(lines))
        numbers = [int(line["round"]) for line in lines]
        clients, by_client = _by_client(folder / "clients.csv", numbers)
        return RunRecord(
            folder=folder,
            summary=summary,
            ended=ended,
            settings=settings,
            keys=keys,
            rounds=lines,
            numbers=np.array(numbers, dtype=np.int64),
            clients=clients,
            by_client=by_client,
            times=_times(folder / "timings.jsonl", numbers),
            similarity=_similarity(folder),
        )
    except UNREADABLE as error:
        raise UserError(f"{folder}: what the run has left there cannot be read: {one_line(error)}.") from error


def _keys(config: Path) -> dict[str, Any]:
    """Return every key with its default, or, of an algorithm that is not installed here, those that were given."""
    given = read(config)
    try:
        return parse(given).flat()
    except UserError:
        return given


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a record; without its last where a killed run has cut that off."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines[:-1]]
    with suppress(ValueError):
        found += [json.loads(line) for line in lines[-1:]]
    return found


def _summary(folder: Path, keys: dict[str, Any], rounds: int) -> tuple[dict[str, Any], str]:
    if (folder / "summary.json").exists():
        summary = read_summary(folder)
        if not rounds or summary["num_rounds"] == rounds:
            return summary, str(summary.get("ended", ""))
    seconds = {line["round"]: line["seconds"] for line in _json_lines(folder / "timings.jsonl")}
    with (folder / "clients.csv").open(encoding="utf-8", newline="") as file:
        whole = [line for line in file if line.endswith("\n")]
    known = [line for line in whole if not line[:1].isdigit() or int(line.partition(",")[0]) in seconds]
    history = History(list(read_rounds(known, seconds)))
    setting = {key: keys[key.replace("_", "-")] for key in ("algorithm", "dataset", "partition", "engine", "seed")}
    setting["num_clients"] = keys["num-clients"]
    return setting | history.accuracy_summary() | history.traffic_summary(), "killed"


def _by_client(path: Path, numbers: Sequence[int]) -> tuple[list[int], dict[str, NDArray]]:
    """Read `clients.csv` but for the trainings that were for the metric only."""
    place = {number: index for index, number in enumerate(numbers)}
    rows, ids = array("q"), array("q")
    cells = {column: array("d") for column in COLUMNS}
    with path.open(encoding="utf-8", newline="") if path.exists() else StringIO() as file:
        lines = csv.reader(file)
        at = {name: index for index, name in enumerate(next(lines, ()))}
        wanted = [(column, at.get(column), at.get(COUNTS.get(column, ""))) for column in COLUMNS]
        for line in lines:
            row = place.get(int(line[at["round"]])) if len(line) == len(at) else None
            if row is None or line[at["status"]].startswith(METRIC_ONLY):
                continue
            rows.append(row)
            ids.append(int(line[at["client"]]))
            for column, cell, count in wanted:
                told = cell is not None and line[cell] != "" and not (count is not None and line[count] == "0")
                cells[column].append(float(line[cell]) if told and cell is not None else float("nan"))
    clients, columns = np.unique(np.array(ids, dtype=np.int64), return_inverse=True)
    by_client = {}
    for name, values in cells.items():
        by_client[name] = np.full((len(numbers), len(clients)), np.nan)
        by_client[name][np.array(rows, dtype=np.int64), columns] = values
    return clients.tolist(), by_client


def _times(path: Path, numbers: Sequence[int]) -> dict[str, NDArray]:
    by_round = {line["round"]: line for line in _json_lines(path)}
    return {
        name: np.array([_number(by_round.get(number, {}).get(name)) for number in numbers], dtype=np.float64)
        for name in ("seconds", "cpu_seconds")
    }


def _similarity(folder: Path) -> Similarity | None:
    """Return the matrix that the run has left, or that of its newest checkpoint where that is newer."""
    own, manifest, found = folder / "similarity.safetensors", newest_manifest(folder / "checkpoint"), None
    if own.exists():
        with safe_open(own, framework="numpy") as file:
            about = json.loads(file.metadata()["fedsieve"])
            found = Similarity(about["round"], file.get_tensor("clients").tolist(), file.get_tensor("similarity"))
    path = folder / "checkpoint" / server_file(manifest.round if manifest else 0)
    if manifest is not None and path.exists() and (found is None or found.round < manifest.round):
        with safe_open(path, framework="numpy") as file:
            if {"similarity", "compared"} <= set(file.keys()):
                clients = file.get_tensor("compared").tolist()
                found = Similarity(manifest.round, clients, file.get_tensor("similarity")) if clients else found
    return found
