import json
from pathlib import Path
from typing import Any

from rich.console import Console

from fedsieve.reports.compare import comparison, spread

SUMMARY: dict[str, Any] = {
    "algorithm": "local",
    "dataset": "cora",
    "partition": "metis",
    "num_clients": 10,
    "num_rounds": 100,
    "test_accuracy_received": None,
    "test_macro_f1": 0.5,
    "mask_sparsity": None,
    "uplink_bytes_per_client_round": 1234.0,
    "seconds_per_round": 0.05,
}


def test_a_spread_is_mean_and_sample_deviation():
    assert spread([{"a": 0.7}, {"a": 0.8}, {"a": 0.9}], "a", 100) == "80.0 ± 10.0"
    assert spread([{"a": 0.7}, {"a": None}], "a", 100) == "70.0"
    assert spread([{"a": None}], "a", 100) == "-"


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
    console.print(comparison(folders))
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in console.export_text().splitlines() if "│" in line
    ]
    assert [row[4:7] for row in rows] == [["local", "42, 43", "80.0 ± 14.1"], ["fed-avg", "42", "50.0"]]
    assert rows[0][7:] == ["-", "50.0 ± 0.0", "-", "1.2 ± 0.0", "0.050 ± 0.000"]
