from pathlib import Path

import pytest
from rich.console import Console

from fedsieve.errors import UserError
from fedsieve.reports.command import report
from fedsieve.reports.paired import pair_runs
from fedsieve.reports.settings import group_by_setting, make_labels, make_title
from fedsieve.runs.reading import RunRecord, read_run
from tests.helpers import config
from tests.reports.made_up import write_run


def written(folder: Path, rounds: int = 2, **keys: object) -> Path:
    """Write a run of the given keys that has done so many rounds."""
    run = config({"algorithm": "fed-avg", "dataset": "digits", "num-rounds": 4} | keys)
    write_run(folder, 2, rounds, seed=run.seed, algorithm=run.algorithm, dataset=run.dataset, partition=run.partition)
    (folder / "config.toml").write_text(run.toml())
    return folder


def read(*folders: Path) -> list[RunRecord]:
    return [read_run(folder) for folder in folders]


def test_runs_that_stopped_at_other_rounds_are_seeds_of_one_setting_and_told(tmp_path: Path):
    folders = [written(tmp_path / str(seed), done, seed=seed) for seed, done in ((1, 4), (2, 3), (3, 1))]
    (setting,) = group_by_setting(read(*folders))
    assert [run.summary["seed"] for run in setting.runs] == [1, 2, 3]
    lines: list[str] = []
    report(folders, None, tmp_path / "all.html", lines.append, Console(quiet=True))
    sentence = "Stopped earlier: fed-avg, seed 2, after 3 of 4 rounds; fed-avg, seed 3, after 1 of 4 rounds."
    assert lines[0] == sentence
    assert sentence in (tmp_path / "all.html").read_text()


def test_own_data_is_known_by_its_whole_path_and_shown_by_its_name(tmp_path: Path):
    def write_own(name: str, path: str, typed: str, algorithm: str) -> Path:
        folder = written(tmp_path / name, algorithm=algorithm, **{"num-rounds": 2})
        config_file, summary = folder / "config.toml", folder / "summary.json"
        config_file.write_text(config_file.read_text().replace('"digits"', f'"{path}"'))
        summary.write_text(summary.read_text().replace('"digits"', f'"{typed}"'))
        return folder

    one = write_own("one", "/a/own", "own", "fed-avg")
    other = write_own("other", "/a/own", "../a/own", "local")
    elsewhere = write_own("elsewhere", "/b/own", "own", "local")
    alike, apart = group_by_setting(read(one, other)), group_by_setting(read(one, elsewhere))
    assert make_title(alike).startswith("own, ")
    assert make_labels(alike) == ["fed-avg", "local"]
    assert pair_runs(alike[1], alike[0]).seeds == [42]
    assert make_labels(apart) == ["fed-avg, /a/own", "local, /b/own"]
    assert "they differ in dataset" in pair_runs(apart[1], apart[0]).reason
    report([one], other, None, lambda line: None, Console(quiet=True))
    with pytest.raises(UserError, match="they differ in dataset"):
        report([one], elsewhere, None, print, Console(quiet=True))
