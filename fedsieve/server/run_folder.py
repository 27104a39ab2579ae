"""One run, one folder: what `fedsieve run` leaves on disk, a line at a time."""

import csv
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from fedsieve.config import RunConfig
from fedsieve.data import DATASETS
from fedsieve.data.kinds import IMAGE_NAMES
from fedsieve.errors import UserError
from fedsieve.server.usage import cpu_seconds
from fedsieve.strategies.rounds import Round
from fedsieve.wire import Arrays

NAMES = {*DATASETS, *IMAGE_NAMES}

CLIENT_COLUMNS = (
    "round",
    "client",
    "status",
    "num_examples",
    "train_loss",
    "val_accuracy",
    "test_accuracy",
    "test_macro_f1",
    "val_accuracy_received",
    "test_accuracy_received",
    "mask_sparsity",
    "uplink_bytes",
    "uplink_payload_bytes",
    "downlink_bytes",
)


class RunFolder:
    """Writes a run's folder; an observer of the round loop, whose lines are on disk when a round is over.

    Args:
        run: its `out` names the folder, which must be new or empty; if empty, a name is made from the date.

    Raises:
        UserError: the folder holds something already, or cannot be written.
    """

    def __init__(self, run: RunConfig) -> None:
        self.path = folder_of(run)
        check_folder(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            anywhere = {
                "out": "",
                "dataset": run.dataset if run.dataset in NAMES else _absolute(run.dataset),
            }
            (self.path / "config.toml").write_text(run.model_copy(update=anywhere).toml(), encoding="utf-8")
        except OSError as error:
            raise UserError(f"out: {self.path} cannot be written: {error.strerror}.") from error
        self._cpu = cpu_seconds()
        self._append("clients.csv", ",".join(CLIENT_COLUMNS))

    def round_finished(self, round_: Round) -> None:
        """Append the round to `rounds.jsonl`, `timings.jsonl` and `clients.csv`."""
        self._append("clients.csv", *_client_lines(round_))
        before, self._cpu = self._cpu, cpu_seconds()
        spent = round(self._cpu - before, 6)
        times = {"round": round_.number, "seconds": round(round_.seconds, 6), "cpu_seconds": spent}
        self._append("timings.jsonl", json.dumps(times))
        if not round_.for_metric_only:
            self._append("rounds.jsonl", json.dumps(_round_line(round_), allow_nan=False))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write `summary.json`, whole or not at all."""
        self.write_text("summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a text file, whole or not at all."""
        partial = self.path / f".{name}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(self.path / name)

    def write_arrays(self, name: str, arrays: Arrays, metadata: Mapping[str, str]) -> None:
        """Write a safetensors file, whole or not at all; `name` may have folders."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, partial, dict(metadata))
        partial.replace(target)

    def _append(self, name: str, *lines: str) -> None:
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)


def _absolute(dataset: str) -> str:
    path = Path(dataset)
    return str(path.resolve()) if path.exists() else dataset


def check_folder(path: Path) -> None:
    """Raise a `UserError` for a path that is not that of a new or an empty folder; nothing is made."""
    try:
        taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    except OSError as error:
        raise UserError(f"out: {path} cannot be read: {error.strerror}.") from error
    if taken:
        fault = "is not empty" if path.is_dir() else "is a file"
        raise UserError(f"out: got {path}, which {fault}, allowed: a new or an empty folder.")


def folder_of(run: RunConfig) -> Path:
    """Return `run.out`, or a new name under `runs/` if that is empty."""
    if run.out:
        return Path(run.out)
    return Path("runs") / f"{run.algorithm}-{Path(run.dataset).stem}-{datetime.now():%Y%m%d-%H%M%S-%f}"


def read_summary(folder: Path) -> dict[str, Any]:
    """Read a run's `summary.json`; a folder without one is a `UserError`."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        if not (isinstance(summary, dict) and {"algorithm", "dataset", "test_accuracy_per_client"} <= set(summary)):
            raise ValueError("not a summary")
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: holds no readable summary.json; allowed: the folder of a run.") from error
    return summary


def _round_line(round_: Round) -> dict[str, Any]:
    means = round_.means
    return {
        "round": round_.number,
        "participants": list(round_.participants),
        "rejected": {str(client): reason for client, reason in round_.rejected.items()},
        "train_loss": means.get("train-loss"),
        "val_accuracy": means.get("val-accuracy"),
        "test_accuracy": means.get("test-accuracy"),
        "test_accuracy_received": means.get("received-test-accuracy"),
        "uplink_bytes": sum(reply.uplink_bytes for reply in round_.replies),
        "downlink_bytes": sum(round_.downlink_bytes.values()),
    }


def _client_lines(round_: Round) -> list[str]:
    rows: list[dict[str, Any]] = []
    done = "metric-only" if round_.for_metric_only else "ok"
    for reply in round_.replies:
        m = reply.metrics
        rows.append(
            {
                "client": reply.client,
                "status": done,
                "num_examples": reply.num_examples,
                "train_loss": m["train-loss"],
                "val_accuracy": m["val-accuracy"],
                "test_accuracy": m["test-accuracy"],
                "test_macro_f1": m["test-macro-f1"],
                "val_accuracy_received": m["received-val-accuracy"],
                "test_accuracy_received": m["received-test-accuracy"],
                "mask_sparsity": m.get("mask-sparsity", ""),
                "uplink_bytes": reply.uplink_bytes,
                "uplink_payload_bytes": reply.uplink_payload_bytes,
            }
        )
    rows += [{"client": client, "status": f"rejected: {reason}"} for client, reason in round_.rejected.items()]
    lines = _Lines()
    writer = csv.DictWriter(lines, CLIENT_COLUMNS, restval="", lineterminator="")
    for row in sorted(rows, key=lambda row: row["client"]):
        writer.writerow(row | {"round": round_.number, "downlink_bytes": round_.downlink_bytes.get(row["client"], "")})
    return lines


class _Lines(list[str]):
    """What `csv` writes to: a list of lines."""

    write = list.append
