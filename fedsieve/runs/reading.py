"""A run's folder as a report needs it: the names of its files, and what is read from them."""

import csv
import json
import re
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from fedsieve.config import parse, read
from fedsieve.contract import COUNT_OF, NDArray
from fedsieve.errors import UserError, one_line
from fedsieve.runs.checkpoint_folder import newest_manifest, server_file
from fedsieve.runs.folder import read_summary
from fedsieve.runs.given_data import RECORD
from fedsieve.runs.history import History
from fedsieve.runs.records import METRIC_ONLY, METRICS, read_rounds

SUMMARY, CONFIG = "summary.json", "config.toml"
ROUNDS, TIMINGS, CLIENTS = "rounds.jsonl", "timings.jsonl", "clients.csv"
SIMILARITY = "similarity.safetensors"
MODELS, CHECKPOINT = "model", "checkpoint"
REPORT, FIGURES = "report.html", "figures"

_MODEL = re.compile(r"client-(\d+)\.safetensors")

MATRIX_DIM = 2
"""Masks sit on weight matrices alone (`fedsieve.masks.attach`)."""

COLUMNS = ("train_loss", "test_accuracy", "mask_sparsity")
"""Of `clients.csv`, those that figures show each client in."""

COUNTS = {column: COUNT_OF[METRICS[column]].replace("-", "_") for column in COLUMNS if METRICS[column] in COUNT_OF}
"""The column that says how much data a number was taken on: it counts only where that is some."""

UNREADABLE = (OSError, ValueError, KeyError, TypeError, IndexError, SafetensorError)
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
        return str(self.summary["dataset"] if self.own_data else self.keys.get("dataset", self.summary["dataset"]))

    @property
    def own_data(self) -> int:
        """The number of clients with data of their own, which the keys say nothing of."""
        return int(self.summary.get("own_data", 0))

    @property
    def sampled(self) -> float:
        """The share of the clients that a round takes; all where that is not known."""
        return float(self.keys.get("fraction-train", 1.0))

    @property
    def wanted(self) -> int:
        """Rounds that it was to do; it may have stopped before."""
        return int(self.keys.get("num-rounds", self.summary["num_rounds"]))

    def take_means(self, column: str) -> NDArray:
        """Return a column of `rounds.jsonl`, R, NaN where it says nothing."""
        return np.array([_to_float(line.get(column)) for line in self.rounds], dtype=np.float64)

    def carry_forward(self, column: str) -> NDArray:
        """Return `by_client`, R x C, with a client's last number where it took no part, as the means have it."""
        values = self.by_client[column].copy()
        for before, row in pairwise(values):
            np.copyto(row, before, where=np.isnan(row))
        return values

    @property
    def accuracies(self) -> dict[int, float]:
        """Test accuracy, 0 to 1, of each client that has test data, by id, at the best round."""
        accuracies = self.summary.get("test_accuracy_per_client") or {}
        return {int(client): float(value) for client, value in accuracies.items() if value is not None}


def read_run(folder: Path) -> RunRecord:
    """Read a run's folder.

    Raises:
        UserError: it is not that of a run, or what it holds cannot be read.
    """
    config = folder / CONFIG
    if not (folder / SUMMARY).exists() and not ((folder / CLIENTS).exists() and config.exists()):
        read_summary(folder)  # raises
    with _reading(folder):
        settings = config.read_text(encoding="utf-8") if config.exists() else ""
        keys = _read_keys(config) if config.exists() else {}
        lines = read_round_lines(folder)
        summary, ended = _read_summary(folder, keys, len(lines))
        numbers = [int(line["round"]) for line in lines]
        clients, by_client = _read_clients(folder / CLIENTS, numbers)
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
            times=_read_times(folder, numbers),
            similarity=_read_similarity(folder),
        )


def holds_run(folder: Path) -> bool:
    """Return whether the folder is that of a run, however far that came."""
    return (folder / SUMMARY).exists() or (folder / CLIENTS).exists()


def read_history(folder: Path) -> History:
    """Read the rounds that the records have in full; a run that was killed may have cut off its last.

    Raises:
        UserError: they cannot be read.
    """
    with _reading(folder):
        seconds = {line["round"]: line["seconds"] for line in read_timings(folder)}
        with (folder / CLIENTS).open(encoding="utf-8", newline="") as file:
            whole = [line for line in file if line.endswith("\n")]
        timed = [line for line in whole if not line[:1].isdigit() or int(line.partition(",")[0]) in seconds]
        return History(list(read_rounds(timed, seconds)))


def read_round_lines(folder: Path) -> list[dict[str, Any]]:
    """Read the lines of `rounds.jsonl`, none where there is no such file.

    Raises:
        UserError: they cannot be read.
    """
    with _reading(folder):
        return _read_json_lines(folder / ROUNDS)


def read_timings(folder: Path) -> list[dict[str, Any]]:
    """Read the lines of `timings.jsonl`, none where there is no such file.

    Raises:
        UserError: they cannot be read.
    """
    with _reading(folder):
        return _read_json_lines(folder / TIMINGS)


def measure_models(folder: Path) -> dict[int, int]:
    """Return the size, in bytes, of each client's personal model, by client."""
    paths = (folder / MODELS).glob("client-*")
    return {int(match[1]): path.stat().st_size for path in paths if (match := _MODEL.fullmatch(path.name))}


def read_matrices(folder: Path, client: int) -> Iterator[tuple[str, NDArray]]:
    """Read the weight matrices of a client's personal model, by name, one at a time.

    Raises:
        UserError: the model cannot be read.
    """
    path = folder / MODELS / f"client-{client}.safetensors"
    with _reading(path), safe_open(path, framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118 - it is no dict
            if len(file.get_slice(name).get_shape()) >= MATRIX_DIM:
                yield name, file.get_tensor(name)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:
        raise UserError(f"{path}: what the run has left there cannot be read: {one_line(error)}.") from error


def _read_keys(config: Path) -> dict[str, Any]:
    """Return every key with its default, or, of an algorithm that is not installed here, those that were given."""
    given = read(config)
    try:
        return parse(given).flat()
    except UserError:
        return given


def _to_float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a record; without its last where a killed run has cut that off."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    objects = [json.loads(line) for line in lines[:-1]]
    with suppress(ValueError):
        objects += [json.loads(line) for line in lines[-1:]]
    return objects


def _read_summary(folder: Path, keys: dict[str, Any], rounds: int) -> tuple[dict[str, Any], str]:
    if (folder / SUMMARY).exists():
        summary = read_summary(folder)
        if not rounds or summary["num_rounds"] == rounds:
            return summary, str(summary.get("ended", ""))
    history = read_history(folder)
    setting = {key: keys[key.replace("_", "-")] for key in ("algorithm", "dataset", "partition", "engine", "seed")}
    setting["num_clients"] = keys["num-clients"]
    if (folder / RECORD).exists():
        setting |= json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return setting | history.accuracy_summary() | history.traffic_summary(), "killed"


def _read_clients(path: Path, numbers: Sequence[int]) -> tuple[list[int], dict[str, NDArray]]:
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
                counts = cell is not None and line[cell] != "" and not (count is not None and line[count] == "0")
                cells[column].append(float(line[cell]) if counts and cell is not None else float("nan"))
    clients, columns = np.unique(np.array(ids, dtype=np.int64), return_inverse=True)
    by_client = {}
    for name, values in cells.items():
        by_client[name] = np.full((len(numbers), len(clients)), np.nan)
        by_client[name][np.array(rows, dtype=np.int64), columns] = values
    return clients.tolist(), by_client


def _read_times(folder: Path, numbers: Sequence[int]) -> dict[str, NDArray]:
    by_round = {line["round"]: line for line in read_timings(folder)}
    return {
        name: np.array([_to_float(by_round.get(number, {}).get(name)) for number in numbers], dtype=np.float64)
        for name in ("seconds", "cpu_seconds")
    }


def _read_similarity(folder: Path) -> Similarity | None:
    """Return the matrix that the run has left, or that of its newest checkpoint where that is newer."""
    path, manifest, similarity = folder / SIMILARITY, newest_manifest(folder / CHECKPOINT), None
    if path.exists():
        with safe_open(path, framework="numpy") as file:
            about = json.loads(file.metadata()["fedsieve"])
            similarity = Similarity(about["round"], file.get_tensor("clients").tolist(), file.get_tensor("similarity"))
    path = folder / CHECKPOINT / server_file(manifest.round if manifest else 0)
    if manifest is not None and path.exists() and (similarity is None or similarity.round < manifest.round):
        with safe_open(path, framework="numpy") as file:
            if {"similarity", "compared"} <= set(file.keys()):
                clients = file.get_tensor("compared").tolist()
                similarity = (
                    Similarity(manifest.round, clients, file.get_tensor("similarity")) if clients else similarity
                )
    return similarity
