import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fedsieve.reports.compare import format_spread, tabulate, tabulate_comparison
from fedsieve.reports.settings import Setting, group_by_setting
from fedsieve.runs.reading import read_run
from tests.helpers import config

SUMMARY: dict[str, Any] = {
    "algorithm": "local",
    "dataset": "cora",
    "partition": "metis",
    "num_clients": 10,
    "num_rounds": 100,
    "test_accuracy_received": None,
    "test_accuracy_per_client": None,
    "test_macro_f1": 0.5,
    "mask_sparsity": None,
    "uplink_bytes_per_client_round": 1234.0,
    "seconds_per_round": 0.05,
}


def grouped(folders: list[Path]) -> list[Setting]:
    return group_by_setting([read_run(folder) for folder in folders])


def test_a_spread_is_mean_and_sample_deviation():
    assert format_spread([{"a": 0.7}, {"a": 0.8}, {"a": 0.9}], "a", 100) == "80.0 ± 10.0"
    assert format_spread([{"a": 0.7}, {"a": None}], "a", 100) == "70.0"
    assert format_spread([{"a": None}], "a", 100) == "-"


def test_runs_that_differ_in_their_seed_alone_share_a_row(tmp_path: Path):
    folders = []
    for name, changes in {
        "a": {"seed": 42, "test_accuracy": 0.7},
        "b": {"seed": 43, "test_accuracy": 0.9},
        "c": {"seed": 42, "test_accuracy": 0.5, "algorithm": "fed-avg"},
    }.items():
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        (folders[-1] / "summary.json").write_text(json.dumps(SUMMARY | changes))
    console = Console(width=200, record=True, file=(tmp_path / "out").open("w"))
    console.print(tabulate_comparison(grouped(folders)))
    text = console.export_text()
    rows = [re.split(r"  +", line.strip()) for line in text.splitlines() if line.strip().startswith(("local", "fed-"))]
    assert rows == [
        ["local", "42, 43", "80.0 ± 14.1", "-", "-", "-", "50.0 ± 0.0", "-", "1.2 ± 0.0 kB", "0.050 ± 0.000"],
        ["fed-avg", "42", "50.0", "-", "-", "-", "50.0", "-", "1.2 kB", "0.050"],
    ]
    assert "cora, metis, 10 clients, 100 rounds" in text


def write_summary(folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps(SUMMARY | {"seed": 42} | changes))
    return folder


COLLAPSED = {"algorithm": "fed-avg", "test_accuracy": 0.57, "best_round": 7, "test_accuracy_final": 0.32}


def test_what_was_lost_after_the_best_round_shows_in_80_columns(tmp_path: Path):
    console = Console(width=80, record=True, file=(tmp_path / "out").open("w"))
    changes = COLLAPSED | {"test_accuracy_received": 0.55, "mask_sparsity": 0.8, "seconds_per_round": 12.345}
    long = write_summary(tmp_path / "b", **changes | {"algorithm": "hide-n-seek"})
    console.print(tabulate_comparison(grouped([write_summary(tmp_path / "a", **changes), long])))
    row = next(line for line in console.export_text().splitlines() if "fed-avg" in line)
    assert row.split() == ["fed-avg", "42", "57.0", "7", "32.0", "55.0", "50.0", "80.0", "1.2", "kB", "12.345"]
    assert "…" not in console.export_text()


@pytest.mark.parametrize(
    ("runs", "cell"),
    [
        ([{"best_round": 7}], "7"),
        ([{"best_round": 7}, {"best_round": 100, "seed": 43}], "7, 100"),
        ([{"best_round": 7}, {"best_round": 9, "seed": 43, "num_rounds": 60}], "7, 9 of 60"),  # it has stopped early
        ([{"best_round": 0, "num_rounds": 0, "test_accuracy": None}], "-"),
    ],
)
def test_best_rounds_are_each_runs_own(runs: list[dict[str, Any]], cell: str, tmp_path: Path):
    folders = [write_summary(tmp_path / str(at), **COLLAPSED | changes) for at, changes in enumerate(runs)]
    for folder in folders:
        (folder / "config.toml").write_text(config({"algorithm": "fed-avg", "num-rounds": 100}).toml())
    table = tabulate(grouped(folders))
    assert [row[list(table.head).index("best round")] for row in table.rows] == [cell]


@pytest.mark.parametrize(
    ("sizes", "cells"),
    [
        ((412.0, 805_952.0), ["412.0 bytes", "806.0 kB"]),
        ((1234.0, 45_678_900.0), ["1.2 kB", "45.7 MB"]),
        ((0.0, 3_200_000_000.0), ["0.0 bytes", "3.2 GB"]),
        ((None, None), ["-", "-"]),
    ],
)
def test_bytes_are_told_in_a_unit_of_each_settings_own(
    sizes: tuple[float | None, ...], cells: list[str], tmp_path: Path
):
    for number, size in enumerate(sizes):
        (tmp_path / str(number)).mkdir()
        changes = {"seed": 1, "test_accuracy": 0.5, "algorithm": f"a{number}", "uplink_bytes_per_client_round": size}
        (tmp_path / str(number) / "summary.json").write_text(json.dumps(SUMMARY | changes))
    table = tabulate_comparison(grouped([tmp_path / "0", tmp_path / "1"]))
    (column,) = (each for each in table.columns if each.header == "up")
    assert [str(cell) for cell in column.cells] == cells


def test_on_a_narrow_terminal_algorithms_and_accuracies_are_whole_and_markup_is_text(tmp_path: Path):
    for name in ("fed-avg", "fed-pub"):
        (tmp_path / name).mkdir()
        changes = {"seed": 42, "test_accuracy": 0.1234, "algorithm": name, "dataset": f"[bold]a[/b]-{name}"}
        (tmp_path / name / "summary.json").write_text(json.dumps(SUMMARY | changes))
    console = Console(width=80, record=True, file=(tmp_path / "out").open("w"))
    console.print(tabulate_comparison(grouped([tmp_path / "fed-avg", tmp_path / "fed-pub"])))
    text = console.export_text()
    assert text.count("12.3") == 2
    assert all(word in text for word in ("fed-avg", "fed-pub", "[b"))


def test_runs_of_other_keys_do_not_pass_for_seeds(tmp_path: Path):
    folders = []
    for name, accuracy, keys in (
        ("a", 0.2, {"seed": 42, "hide-n-seek.density": 0.1}),
        ("b", 0.4, {"seed": 42, "hide-n-seek.density": 0.5}),
        ("c", 0.6, {"seed": 43, "hide-n-seek.density": 0.5}),
    ):
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        run = config({"algorithm": "hide-n-seek"} | keys)
        changes = {"algorithm": "hide-n-seek", "seed": run.seed, "test_accuracy": accuracy}
        (folders[-1] / "summary.json").write_text(json.dumps(SUMMARY | changes))
        (folders[-1] / "config.toml").write_text(run.toml())
    console = Console(width=200, record=True, file=(tmp_path / "out").open("w"))
    console.print(tabulate_comparison(grouped(folders)))
    rows = [re.split(r"  +", line.strip()) for line in console.export_text().splitlines() if "density" in line]
    assert [row[:3] for row in rows] == [
        ["hide-n-seek hide-n-seek.density=0.1", "42", "20.0"],
        ["hide-n-seek hide-n-seek.density=0.5", "42, 43", "50.0 ± 14.1"],
    ]
