"""Tables of experiments, from folders written by hand."""

import json
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest

from fedsieve.errors import UserError
from fedsieve.reports.quantities import Results
from fedsieve.runs.records import CLIENT_COLUMNS
from fedsieve.simulations.combinations import expand_experiment, layout_of
from fedsieve.simulations.experiment import read_experiment
from fedsieve.simulations.experiment_table import ExperimentTable, write_table

EXPERIMENT = """
seeds = [1, 2]
num-clients = 2

[sweep]
dataset = ["mnist", "cifar10"]

[[runs]]
algorithm = "local"

[[runs]]
algorithm = "fed-avg"
"""


def a_run(folder: Path, validations: list[float], **summary: Any) -> Path:
    """Write a run of two clients, of which each round samples the first, and a last training of the second."""
    folder.mkdir(parents=True)
    best = max(range(len(validations)), key=validations.__getitem__)
    values = {"algorithm": "", "dataset": "", "test_accuracy_per_client": {}, "best_round": best + 1, "versions": {}}
    (folder / "summary.json").write_text(json.dumps(values | summary))
    rounds = [
        {"round": number, "participants": [0], "val_accuracy": accuracy}
        for number, accuracy in enumerate(validations, 1)
    ]
    (folder / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rounds))
    last = len(validations) + 1
    times = [{"round": number, "seconds": 1.0, "cpu_seconds": float(number)} for number in range(1, last + 1)]
    (folder / "timings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in times))
    sent = dict.fromkeys(CLIENT_COLUMNS, 1) | {"uplink_bytes": 3_000_000, "downlink_bytes": 1_000_000}
    lines = [
        sent | {"round": number, "client": 0, "status": "ok", "val_accuracy": accuracy}
        for number, accuracy in enumerate(validations, 1)
    ]
    lines.append(lines[0] | {"round": last, "client": 1, "status": "metric-only", "val_accuracy": 0.4})
    text = [",".join(CLIENT_COLUMNS), *(",".join(str(value) for value in line.values()) for line in lines)]
    (folder / "clients.csv").write_text("\n".join(text) + "\n")
    return folder


def table(tmp_path: Path, text: str, without: tuple[str, ...] = (), **runs: dict[str, Any]) -> ExperimentTable:
    """Return the table of an experiment; `runs` gives what those whose names begin so have reached."""
    path = tmp_path / "experiment.toml"
    path.write_text(text)
    experiment = read_experiment(path)
    points = expand_experiment(experiment, path)
    finished = {}
    for point in points:
        if point.name not in without:
            given = {
                k: v for name, given in runs.items() if point.label == name.replace("_", "-") for k, v in given.items()
            }
            at = 0 if point.run.seed == 1 else 1
            chosen = {key: value[at] if isinstance(value, tuple) else value for key, value in given.items()}
            finished[point.name] = a_run(tmp_path / point.name, chosen.pop("validations", [0.5]), **chosen)
    return ExperimentTable(layout_of(experiment, points), points, finished)


def test_rows_are_combinations_and_cells_are_over_seeds(tmp_path: Path):
    layout = "[table]\nrows = ['dataset']\ncolumns = [{ metric = 'test_accuracy', where.label = 'local' }, "
    layout += "{ metric = 'mask_sparsity', where.label = 'fed-avg', heading = 'zeros' }]\n"
    made = table(
        tmp_path, EXPERIMENT + layout, local={"test_accuracy": (0.7, 0.9)}, fed_avg={"mask_sparsity": (None, 0.25)}
    )
    assert made.markdown().splitlines() == [
        "| dataset | test, % | zeros |",
        "| --- | --- | --- |",
        "| mnist | 80.0 ± 14.1 | 25.0 [1 of 2] |",
        "| cifar10 | 80.0 ± 14.1 | 25.0 [1 of 2] |",
    ]
    assert made.csv().splitlines()[:3] == [
        "table,dataset,column,mean,deviation,runs,missing",
        f',mnist,"test, %",80.0,{stdev([70.0, 90.0])},2,0',
        ",mnist,zeros,25.0,,1,0",
    ]


def test_what_was_lost_after_the_best_round_can_be_a_column(tmp_path: Path):
    layout = "[table]\nrows = ['label']\ncolumns = ['test_accuracy', 'test_accuracy_final', 'best_round']\n"
    reached: dict[str, Any] = {"test_accuracy": 0.57, "test_accuracy_final": 0.32, "validations": [0.1, 0.6, 0.3]}
    one = EXPERIMENT.replace('"mnist", "cifar10"', '"mnist"')
    none = {"test_accuracy": None, "test_accuracy_final": None, "best_round": 0}
    made = table(tmp_path, one + layout, fed_avg=reached, local=none)
    assert made.markdown().splitlines() == [
        "| run | test, % | after the last round, % | best round |",
        "| --- | --- | --- | --- |",
        "| local | - | - | - |",
        "| fed-avg | 57.0 ± 0.0 | 32.0 ± 0.0 | 2.0 ± 0.0 |",
    ]


def test_missing_runs_are_told_where_they_are_missing(tmp_path: Path):
    layout = "[table]\nrows = ['label', 'dataset']\ncolumns = ['test_accuracy']\n"
    gone = ("local,dataset=mnist,seed=2", "local,dataset=cifar10,seed=1", "local,dataset=cifar10,seed=2")
    reached: dict[str, Any] = {"test_accuracy": (0.7, 0.9)}
    made = table(tmp_path, EXPERIMENT + layout, gone, local=reached, fed_avg=reached)
    assert made.markdown().splitlines()[2:] == [
        "| local | mnist | 70.0 [1 of 2] |",
        "| local | cifar10 | missing |",
        "| fed-avg | mnist | 80.0 ± 14.1 |",
        "| fed-avg | cifar10 | 80.0 ± 14.1 |",
    ]


def test_a_ratio_is_that_of_the_same_setting_and_seed(tmp_path: Path):
    layout = "[table]\nsplit = ['dataset']\nrows = ['label']\ncolumns = ["
    key = "uplink_bytes_per_client_round"
    layout += f"'{key}', {{ metric = '{key}', over = 'local' }}, {{ metric = '{key}', under = 'local' }}]\n"
    gone = ("local,dataset=cifar10,seed=1",)
    made = table(tmp_path, EXPERIMENT + layout, gone, local={key: (1000.0, 2000.0)}, fed_avg={key: (4000.0, 2000.0)})
    assert made.markdown().splitlines() == [
        "**mnist**",
        "",
        "| run | up, bytes | up, bytes: this / local | up, bytes: local / this |",
        "| --- | --- | --- | --- |",
        "| local | 1,500 | 1.000 ± 0.000 | 1.0 ± 0.0 |",
        "| fed-avg | 3,000 | 2.500 ± 2.121 | 0.6 ± 0.5 |",
        "",
        "**cifar10**",
        "",
        "| run | up, bytes | up, bytes: this / local | up, bytes: local / this |",
        "| --- | --- | --- | --- |",
        "| local | 2,000 [1 of 2] | 1.000 [1 of 2] | 1.0 [1 of 2] |",
        "| fed-avg | 3,000 | 1.000 [1 of 2] | 1.0 [1 of 2] |",
    ]


TARGET = """
[table]
rows = ["label"]
columns = ["megabytes_until_target", "cpu_seconds_per_client_round", "val_accuracy"]
target = { label = "local", share = 0.6 }
"""


@pytest.mark.parametrize(
    ("validations", "cells"),
    [
        (([0.1, 0.9], [0.1, 0.9]), "8.00 ± 0.00 | 1.500 ± 0.000 | 65.0 ± 0.0"),
        (([0.1, 0.9], [0.9, 0.1]), "6.00 ± 2.83 | 1.500 ± 0.000 | 65.0 ± 0.0"),
        (([0.1, 0.9], [0.1, 0.2]), "- | 1.500 ± 0.000 | 47.5 ± 24.7"),  # a seed that never gets there
    ],
)
def test_bytes_are_counted_until_the_target_of_the_same_seed(validations: Any, cells: str, tmp_path: Path):
    """Each client counts in every round, sampled or not: target .6 of (.8 + .4) / 2, and the first round .25 or .65."""
    one = EXPERIMENT.replace('"mnist", "cifar10"', '"mnist"')
    made = table(tmp_path, one + TARGET, local={"validations": [0.8]}, fed_avg={"validations": validations})
    lines = made.markdown().splitlines()
    assert lines[0] == "**target: 36.0 % validation accuracy**"
    assert lines[-1] == f"| fed-avg | {cells} |"


def test_a_choice_is_by_validation_accuracy_and_never_by_test(tmp_path: Path):
    text = "[[runs]]\nalgorithm = 'local'\nsweep.lr = [0.1, 0.2]\n[[runs]]\nalgorithm = 'fed-avg'\nsweep.lr = [0.1]\n"
    text += "[table]\nrows = ['label', 'lr']\ncolumns = ['test_accuracy']\nchoose = 'lr'\n"
    path = tmp_path / "experiment.toml"
    path.write_text(text)
    points = expand_experiment(read_experiment(path), path)
    finished = {
        point.name: a_run(tmp_path / point.name, [reached], test_accuracy=1 - reached)
        for point, reached in zip(points, (0.6, 0.8, 0.7), strict=True)
    }
    layout = layout_of(read_experiment(path), points)
    assert ExperimentTable(layout, points, finished).markdown().splitlines()[2:] == [
        "| local | 0.1 | 40.0 |  |",
        "| local | 0.2 | 20.0 | yes |",
        "| fed-avg | 0.1 | 30.0 | yes |",
    ]
    del finished[points[1].name]
    rows = ExperimentTable(layout, points, finished).markdown().splitlines()[2:]
    assert rows[:2] == ["| local | 0.1 | 40.0 |  |", "| local | 0.2 | missing |  |"]


def test_an_experiment_without_a_table_has_a_row_for_each_combination(tmp_path: Path):
    made = table(tmp_path, EXPERIMENT, local={"test_accuracy": 0.5}, fed_avg={"test_accuracy": 0.25})
    assert made.markdown().splitlines()[:3] == [
        "| run | dataset | validation, % | test, % |",
        "| --- | --- | --- | --- |",
        "| local | mnist | 45.0 ± 0.0 | 50.0 ± 0.0 |",
    ]


def test_what_a_reader_must_know_stands_beside_the_table(tmp_path: Path):
    made = table(tmp_path, EXPERIMENT, local={"test_accuracy": 0.5}, fed_avg={"test_accuracy": 0.25})
    runs = {name: tmp_path / name for name in ("local,dataset=mnist,seed=1", "fed-avg,dataset=mnist,seed=1")}
    for folder, version in zip(runs.values(), ("1.0", "2.0"), strict=True):
        summary = Results(folder).summary | {"versions": {"torch": version}}
        (folder / "summary.json").write_text(json.dumps(summary))
    write_table(made, tmp_path / "new", "A title", "fedsieve sweep x", (1, 2), runs)
    text = (tmp_path / "new" / "table.md").read_text()
    assert text.startswith("# A title\n\n`fedsieve sweep x`, ")
    assert "; seeds 1, 2; " in text
    assert "torch 1.0 or, other runs, torch 2.0\n\n| run | dataset |" in text
    assert (tmp_path / "new" / "table.csv").read_text() == made.csv()


def test_a_run_whose_records_lack_rounds_has_no_figures(tmp_path: Path):
    folder = a_run(tmp_path / "run", [0.1, 0.2], num_rounds=2)
    assert Results(folder).val_accuracy == pytest.approx((0.2 + 0.4) / 2)
    (folder / "timings.jsonl").unlink()
    with pytest.raises(UserError, match=r"clients\.csv and timings\.jsonl hold 0 rounds, allowed: the 2 of"):
        _ = Results(folder).val_accuracy
