"""The one reader of a run's folder: summary, settings, rounds, and every client's numbers by round."""

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from fedsieve.config import parse, read
from fedsieve.contract import COUNT_OF, NDArray
from fedsieve.errors import UserError, make_printable, one_line
from fedsieve.runs.checkpoint_folder import newest_manifest
from fedsieve.runs.history import History
from fedsieve.runs.layout import CLIENTS, SUMMARY, TIMINGS, RunLayout, server_file
from fedsieve.runs.records import METRICS, ClientRow, read_client_lines, rounds_of
from fedsieve.runs.rounds import Round

MATRIX_DIM = 2
"""Masks sit on weight matrices alone (`fedsieve.masks.attach`)."""

COLUMNS = ("train_loss", "test_accuracy", "mask_sparsity")
"""Of `clients.csv`, those that figures show each client in."""

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
        ended: "finished", "stopped" by an observer, "interrupted", "failed: " and why, "killed" where no summary was
            written, or "" where that is not known.
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

    def name_of(self, client: int) -> str:
        """Return what the data call a client, its number where they do not."""
        names = self.summary.get("client_names") or {}
        return make_printable(str(names.get(str(client), client)))

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


def read_summary(folder: Path) -> dict[str, Any]:
    """Read a run's `summary.json`; a folder without one is a `UserError`."""
    try:
        summary = json.loads(RunLayout(folder).summary.read_text(encoding="utf-8"))
        if not (isinstance(summary, dict) and {"algorithm", "dataset", "test_accuracy_per_client"} <= set(summary)):
            raise ValueError("not a summary")
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: holds no readable {SUMMARY}; allowed: the folder of a run.") from error
    return summary


def read_round_lines(folder: Path) -> list[dict[str, Any]]:
    """Read the lines of `rounds.jsonl`; without its last where a killed run has cut that off."""
    with _explain_read_errors(folder):
        return _read_json_lines(RunLayout(folder).rounds)


def read_timings(folder: Path) -> list[dict[str, Any]]:
    """Read the lines of `timings.jsonl`; without its last where a killed run has cut that off."""
    with _explain_read_errors(folder):
        return _read_json_lines(RunLayout(folder).timings)


def read_client_rows(folder: Path) -> Iterator[ClientRow]:
    """Read `clients.csv` row by row, up to a line that a killed run has cut off.

    Raises:
        OSError, ValueError, KeyError: it is not there, or is not that of a run.
    """
    with RunLayout(folder).clients.open(encoding="utf-8", newline="") as file:
        yield from read_client_lines(line for line in file if line.endswith("\n"))


def read_rounds(folder: Path, *, whole_only: bool = False) -> tuple[Round, ...]:
    """Read the rounds, of their metrics those alone that have a column.

    Args:
        folder: the run's.
        whole_only: skip a round whose time is not there, as a run leaves it that is killed while it writes.

    Raises:
        UserError: the records are not those of a run.
    """
    try:
        seconds = {line["round"]: line["seconds"] for line in read_timings(folder)}
        rows = (row for row in read_client_rows(folder) if not whole_only or row.round in seconds)
        return tuple(rounds_of(rows, seconds))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: {CLIENTS} and {TIMINGS} cannot be read: {one_line(error)}.") from error


def measure_models(folder: Path) -> dict[int, int]:
    """Return the size, in bytes, of each client's personal model, by client."""
    layout = RunLayout(folder)
    return {client: layout.model_of(client).stat().st_size for client in layout.clients_with_models()}


def read_matrices(folder: Path, client: int) -> Iterator[tuple[str, NDArray]]:
    """Read the weight matrices of a client's personal model, by name, one at a time.

    Raises:
        UserError: the model cannot be read.
    """
    path = RunLayout(folder).model_of(client)
    with _explain_read_errors(path), safe_open(path, framework="numpy") as file:
        buffers = _read_names_of_buffers(file)
        for name in file.keys():  # noqa: SIM118 - it is no dict
            if len(file.get_slice(name).get_shape()) >= MATRIX_DIM and name not in buffers:
                yield name, file.get_tensor(name)


def read_buffers(folder: Path, client: int) -> Iterator[tuple[str, NDArray]]:
    """Read the buffers in a client's personal model, by name; none where there is no model.

    Raises:
        UserError: the model cannot be read.
    """
    path = RunLayout(folder).model_of(client)
    if path.exists():
        with _explain_read_errors(path), safe_open(path, framework="numpy") as file:
            for name in _read_names_of_buffers(file):
                yield name, file.get_tensor(name)


def _read_names_of_buffers(file: Any) -> list[str]:
    about = json.loads((file.metadata() or {}).get("fedsieve", "{}"))
    return list(about.get("buffers", []))


def read_run(folder: Path) -> RunRecord:
    """Read a run's folder.

    Raises:
        UserError: it is not that of a run, or what it holds cannot be read.
    """
    layout = RunLayout(folder)
    config = layout.config
    if not layout.summary.exists() and not (layout.clients.exists() and config.exists()):
        read_summary(folder)  # raises
    with _explain_read_errors(folder):
        settings = config.read_text(encoding="utf-8") if config.exists() else ""
        keys = _read_keys(config) if config.exists() else {}
        lines, timings = read_round_lines(folder), read_timings(folder)
        summary, ended = _read_or_make_summary(folder, keys, len(lines), timings)
        numbers = [int(line["round"]) for line in lines]
        clients, by_client = _arrange_by_client(read_client_rows(folder) if layout.clients.exists() else (), numbers)
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
            times=_arrange_times(timings, numbers),
            similarity=_read_similarity(folder),
        )


@contextmanager
def _explain_read_errors(path: Path) -> Iterator[None]:
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
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    entries = [json.loads(line) for line in lines[:-1]]
    with suppress(ValueError):
        entries += [json.loads(line) for line in lines[-1:]]
    return entries


def _read_or_make_summary(
    folder: Path, keys: dict[str, Any], rounds: int, timings: list[dict[str, Any]]
) -> tuple[dict[str, Any], str]:
    """Return the summary, made from the records where it is not there or of fewer rounds, and how the run ended."""
    if RunLayout(folder).summary.exists():
        summary = read_summary(folder)
        if not rounds or summary["num_rounds"] == rounds:
            return summary, str(summary.get("ended", ""))
    seconds = {line["round"]: line["seconds"] for line in timings}
    history = History(list(rounds_of((row for row in read_client_rows(folder) if row.round in seconds), seconds)))
    setting = {key: keys[key.replace("_", "-")] for key in ("algorithm", "dataset", "partition", "engine", "seed")}
    setting["num_clients"] = keys["num-clients"]
    if (record := RunLayout(folder).devices).exists():
        setting |= json.loads(record.read_text(encoding="utf-8"))
    return setting | history.accuracy_summary() | history.traffic_summary(), "killed"


def _arrange_by_client(given: Iterable[ClientRow], numbers: Sequence[int]) -> tuple[list[int], dict[str, NDArray]]:
    """Return the clients' ids and their numbers, but for the trainings that were for the metric only."""
    place = {number: index for index, number in enumerate(numbers)}
    rows, ids = array("q"), array("q")
    cells = {column: array("d") for column in COLUMNS}
    for row in given:
        if row.metric_only or row.round not in place:
            continue
        rows.append(place[row.round])
        ids.append(row.client)
        for column, values in cells.items():
            metric = METRICS[column]
            counts = row.metrics.get(COUNT_OF.get(metric, ""), 1.0) > 0
            values.append(row.metrics.get(metric, np.nan) if counts else np.nan)
    clients, columns = np.unique(np.array(ids, dtype=np.int64), return_inverse=True)
    by_client = {}
    for name, values in cells.items():
        by_client[name] = np.full((len(numbers), len(clients)), np.nan)
        by_client[name][np.array(rows, dtype=np.int64), columns] = values
    return clients.tolist(), by_client


def _arrange_times(timings: list[dict[str, Any]], numbers: Sequence[int]) -> dict[str, NDArray]:
    by_round = {line["round"]: line for line in timings}
    return {
        name: np.array([_to_float(by_round.get(number, {}).get(name)) for number in numbers], dtype=np.float64)
        for name in ("seconds", "cpu_seconds")
    }


def _read_similarity(folder: Path) -> Similarity | None:
    """Return the matrix that the run has left, or that of its newest checkpoint where that is newer."""
    layout, manifest, similarity = RunLayout(folder), newest_manifest(folder), None
    if layout.similarity.exists():
        with safe_open(layout.similarity, framework="numpy") as file:
            about = json.loads(file.metadata()["fedsieve"])
            similarity = Similarity(about["round"], file.get_tensor("clients").tolist(), file.get_tensor("similarity"))
    path = layout.checkpoint / server_file(manifest.round if manifest else 0)
    if manifest is not None and path.exists() and (similarity is None or similarity.round < manifest.round):
        with safe_open(path, framework="numpy") as file:
            if {"similarity", "compared"} <= set(file.keys()):
                clients = file.get_tensor("compared").tolist()
                similarity = (
                    Similarity(manifest.round, clients, file.get_tensor("similarity")) if clients else similarity
                )
    return similarity
