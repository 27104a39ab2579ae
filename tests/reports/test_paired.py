from pathlib import Path
from typing import Any

import pytest

from fedsieve.reports.comparison import describe_pairs, tabulate_pairs
from fedsieve.reports.paired import pair_runs
from fedsieve.reports.settings import Setting, group_by_setting
from fedsieve.runs.data_record import format_fingerprint as as_text
from fedsieve.runs.reading import read_run
from tests.reports.made_up import write_run


def format_fingerprint(root: Path, *runs: dict[str, Any]) -> list[Setting]:
    folders = [write_run(root / str(at), clients=3, **changes) for at, changes in enumerate(runs)]
    return group_by_setting([read_run(folder) for folder in folders])


def test_runs_are_paired_by_seed_and_clients_by_id(tmp_path: Path):
    settings = format_fingerprint(
        tmp_path,
        {"algorithm": "a", "seed": 1, "test_accuracy_per_client": {"0": 0.5, "1": 0.6, "2": None}},
        {"algorithm": "a", "seed": 2, "test_accuracy_per_client": {"0": 0.5, "1": 0.5}},
        {"algorithm": "a", "seed": 3, "test_accuracy_per_client": {"0": 0.9}},
        {"algorithm": "b", "seed": 2, "test_accuracy_per_client": {"1": 0.8, "0": 0.6, "2": 0.1}},
        {"algorithm": "b", "seed": 1, "test_accuracy_per_client": {"0": 0.7, "1": 0.4, "2": 0.9}},
        {"algorithm": "b", "seed": 9, "test_accuracy_per_client": {"0": 0.9}},
    )
    pairing = pair_runs(settings[1], settings[0])
    assert pairing.seeds == [2, 1]
    assert pairing.by_seed == pytest.approx([20, 0])
    assert (pairing.clients, pairing.better) == (4, 3)
    assert pairing.difference == "+10.0 ± 14.1"
    assert [list(row) for row in tabulate_pairs(settings).rows] == [
        ["b", "a", "+10.0 ± 14.1", "2, 1", "2 seeds, 4 clients", "3 of 4"]
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seed": 43}, "they have no seed in common"),
        ({"partition": "louvain"}, "their clients do not hold the same data (they differ in partition)"),
        ({"test_accuracy_per_client": {"7": 0.5}}, "no client was tested in both"),
    ],
)
def test_what_cannot_be_paired_is_said(changes: dict[str, Any], reason: str, tmp_path: Path):
    settings = format_fingerprint(tmp_path, {}, {"algorithm": "b"} | changes)
    assert pair_runs(settings[1], settings[0]).by_seed == []
    (sentence,) = describe_pairs(settings)
    assert sentence.startswith("b")
    assert sentence.endswith(f", as {reason}.")
    assert tabulate_pairs(settings).rows == []


def test_data_are_compared_by_their_content_where_it_is_known(tmp_path: Path):
    settings = format_fingerprint(tmp_path, {"dataset": "/a/own.npz"}, {"dataset": "/b/own.npz", "algorithm": "b"})
    assert "they differ in dataset" in pair_runs(settings[1], settings[0]).reason
    for folder in ("0", "1"):
        (tmp_path / folder / "data.json").write_text(as_text({".": [1, "aa"]}))
    assert pair_runs(settings[1], settings[0]).reason == ""
    (tmp_path / "1" / "data.json").write_text(as_text({".": [1, "bb"]}))
    assert "they differ in dataset" in pair_runs(settings[1], settings[0]).reason


def test_one_setting_has_no_differences(tmp_path: Path):
    assert describe_pairs(format_fingerprint(tmp_path, {"seed": 1}, {"seed": 2})) == [
        "There is one setting only: differences need two."
    ]


def test_which_of_two_runs_of_a_seed_is_paired_is_said(tmp_path: Path):
    settings = format_fingerprint(
        tmp_path,
        {"algorithm": "a", "test_accuracy_per_client": {"0": 0.5}},
        {"algorithm": "b", "test_accuracy_per_client": {"0": 0.1}},
        {"algorithm": "b", "test_accuracy_per_client": {"0": 0.7}},
    )
    assert pair_runs(settings[1], settings[0]).by_seed == pytest.approx([20])
    assert describe_pairs(settings)[1:] == [
        "b has several runs of seed 42, of which the one that was named last is paired."
    ]
