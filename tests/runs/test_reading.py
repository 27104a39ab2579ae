import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fedsieve.errors import UserError
from fedsieve.runs.reading import read_run
from tests.helpers import rounds_of, summary_of
from tests.reports.made_up import write_run


def test_a_client_keeps_its_last_numbers_as_in_the_means(runs: Path):
    run = read_run(runs / "pub")
    assert np.isnan(run.by_client["test_accuracy"]).any()  # 4 of 5 take part
    for column in ("train_loss", "test_accuracy"):
        means = np.nanmean(run.carry_forward(column), axis=1)
        assert means == pytest.approx([line[column] for line in rounds_of(runs / "pub")])


def test_a_client_without_test_data_has_no_accuracy(tmp_path: Path):
    folder = write_run(tmp_path / "run", clients=2)
    table = (folder / "clients.csv").read_text()
    (folder / "clients.csv").write_text(table.replace(",10,1,1\n", ",10,1,0\n", 1))
    values = read_run(folder).by_client["test_accuracy"]
    assert np.isnan(values[0, 0])
    assert not np.isnan(values).all()


def test_a_run_that_was_killed_is_read_from_its_records_and_checkpoint(runs: Path, tmp_path: Path):
    folder = tmp_path / "killed"
    shutil.copytree(runs / "pub", folder)
    (folder / "summary.json").unlink()
    (folder / "similarity.safetensors").unlink()
    whole, read = read_run(runs / "pub"), read_run(folder)
    assert (whole.ended, read.ended) == ("finished", "killed")
    assert {"test_accuracy", "best_round", "test_accuracy_per_client", "mask_sparsity"} < set(read.summary)
    assert {key: whole.summary[key] for key in read.summary} == read.summary | {
        "seconds_per_round": pytest.approx(read.summary["seconds_per_round"], abs=1e-6)
    }
    assert whole.similarity is not None
    assert read.similarity is not None
    assert (read.similarity.round, read.similarity.clients) == (3, whole.similarity.clients)
    np.testing.assert_allclose(read.similarity.matrix, whole.similarity.matrix, rtol=1e-6)


@pytest.mark.parametrize("name", ["rounds.jsonl", "timings.jsonl", "clients.csv"])
def test_a_record_that_is_cut_off_within_a_line_is_read_up_to_there(name: str, runs: Path, tmp_path: Path):
    folder = tmp_path / "killed"
    shutil.copytree(runs / "pub", folder, ignore=shutil.ignore_patterns("checkpoint", "model"))
    (folder / "summary.json").unlink()
    (folder / name).write_bytes((folder / name).read_bytes()[:-5])
    assert 2 <= len(read_run(folder).rounds) <= 3


def test_a_summary_of_fewer_rounds_than_there_are_is_not_believed(runs: Path, tmp_path: Path):
    folder = tmp_path / "resumed"
    shutil.copytree(runs / "pub", folder)
    stale = summary_of(folder) | {"num_rounds": 1, "ended": "interrupted", "test_accuracy": 0.123}
    (folder / "summary.json").write_text(json.dumps(stale))
    read = read_run(folder)
    assert read.ended == "killed"
    assert read.summary["num_rounds"] == 3
    assert read.summary["test_accuracy"] == pytest.approx(summary_of(runs / "pub")["test_accuracy"])


@pytest.mark.parametrize("name", ["similarity.safetensors", "summary.json", "config.toml"])
def test_a_file_that_is_not_what_it_was_is_one_sentence(name: str, runs: Path, tmp_path: Path):
    folder = tmp_path / "broken"
    shutil.copytree(runs / "pub", folder, ignore=shutil.ignore_patterns("checkpoint", "model"))
    (folder / name).write_bytes(b"1,[\n")
    with pytest.raises(UserError, match="broken"):
        read_run(folder)


def test_what_cannot_be_read_is_one_sentence(runs: Path, tmp_path: Path):
    folder = tmp_path / "broken"
    shutil.copytree(runs / "pub", folder)
    (folder / "rounds.jsonl").write_text("{}\n{}\n")
    with pytest.raises(UserError, match="broken: what the run has left there cannot be read: 'round'"):
        read_run(folder)
