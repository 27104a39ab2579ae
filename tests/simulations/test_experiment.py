"""Experiment files: what they expand to, what is told of mistakes, and that those which are shipped are right."""

import re
from pathlib import Path

import pytest

from fedsieve.errors import UserError
from fedsieve.simulations.combinations import LONGEST, Point, expand_experiment, layout_of
from fedsieve.simulations.experiment import find, list_built_in, read_experiment, summarise_built_in

COMPARED = """
seeds = [1, 2]
dataset = "cora"
num-rounds = 3

[sweep]
num-clients = [5, 7]

[[runs]]
algorithm = "local"

[[runs]]
label = "pub"
algorithm = "fed-pub"
sweep.fed-pub.tau = [3, 5.0]
num-clients = 9
"""


def points(path: Path, text: str) -> list[Point]:
    path.write_text(text)
    return expand_experiment(read_experiment(path), path)


def test_every_combination_is_run_and_a_runs_own_keys_are_not_swept(tmp_path: Path):
    found = points(tmp_path / "one.toml", COMPARED)
    assert [point.name for point in found] == [
        "local,num-clients=5,seed=1",
        "local,num-clients=5,seed=2",
        "local,num-clients=7,seed=1",
        "local,num-clients=7,seed=2",
        "pub,fed-pub.tau=3.0,seed=1",
        "pub,fed-pub.tau=3.0,seed=2",
        "pub,fed-pub.tau=5.0,seed=1",
        "pub,fed-pub.tau=5.0,seed=2",
    ]
    keys = ("algorithm", "dataset", "num-rounds", "num-clients", "seed", "fed-pub.tau")
    assert [tuple(point.value(key) for key in keys) for point in found[1::3]] == [
        ("local", "cora", 3, 5, 2, None),
        ("fed-pub", "cora", 3, 9, 1, 3.0),
        ("fed-pub", "cora", 3, 9, 2, 5.0),
    ]
    assert {point.label for point in found} == {"local", "pub"}


def test_keys_that_change_together_are_swept_as_tables(tmp_path: Path):
    found = points(
        tmp_path / "one.toml",
        "[sweep]\ndata-seed = [0, 7]\n"
        'data = [{ dataset = "cora", fed-pub.tau = 2.0 }, { dataset = "citeseer", num-clients = 3 }]\n',
    )
    assert [point.name for point in found] == [
        "data-seed=0,dataset=cora,fed-pub.tau=2.0,num-clients=10,seed=42",
        "data-seed=0,dataset=citeseer,fed-pub.tau=3.0,num-clients=3,seed=42",
        "data-seed=7,dataset=cora,fed-pub.tau=2.0,num-clients=10,seed=42",
        "data-seed=7,dataset=citeseer,fed-pub.tau=3.0,num-clients=3,seed=42",
    ]


TABLES = """
seeds = [1]
[fed-pub]
tau = 5.0
[fed-prox]
mu = 0.5
[[runs]]
algorithm = "fed-pub"
"""


def test_tables_of_several_algorithms_are_for_their_own_runs(tmp_path: Path):
    pub, prox = points(tmp_path / "one.toml", TABLES + '[[runs]]\nalgorithm = "fed-prox"')
    assert (pub.run.flat()["fed-pub.tau"], prox.run.flat()["fed-prox.mu"]) == (5.0, 0.5)
    assert "fed-prox.mu" not in pub.run.flat()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        # no run is of it
        (TABLES, "runs 'fed-pub': fed-prox.mu: is a key of fed-prox, allowed: with algorithm = 'fed-prox'"),
        # a run's own keys are its algorithm's
        (
            TABLES.replace("[fed-prox]\nmu = 0.5\n", "") + 'fed-prox.mu = 1.0\n[[runs]]\nalgorithm = "fed-prox"',
            "runs 'fed-pub': fed-prox.mu: is a key of fed-prox",
        ),
    ],
)
def test_a_table_of_an_algorithm_that_does_not_run_is_a_mistake(text: str, told: str, tmp_path: Path):
    with pytest.raises(UserError) as caught:
        points(tmp_path / "one.toml", text)
    assert f"one.toml: {told}" in str(caught.value)


def test_a_shared_key_of_one_partition_is_ignored_in_runs_of_the_others(tmp_path: Path):
    text = 'seeds = [1]\ndataset = "digits"\nalpha = 0.3\nsweep.partition = ["iid", "dirichlet"]'
    assert [point.run.alpha for point in points(tmp_path / "e.toml", text)] == [0.5, 0.3]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('dataset = "digits"\nalpha = 0.3\nsweep.partition = ["iid", "shards"]',
         "alpha: got 0.3 with the partitions iid, shards, which do not read it, allowed: with one of"),
        ('dataset = "digits"\nsweep.partition = ["iid", "dirichlet"]\nsweep.alpha = [0.1, 0.3]',
         "alpha: got 0.1 with partition = 'iid', which does not read it, allowed: with one of"),
        ('[[runs]]\nalgorithm = "local"\nalpha = 0.3', "alpha: got 0.3 with partition = 'metis', which does not read"),
    ],
)  # fmt: skip
def test_a_key_that_no_partition_of_an_experiment_reads_is_one_sentence(text: str, sentence: str, tmp_path: Path):
    with pytest.raises(UserError, match=re.escape(sentence)):
        points(tmp_path / "e.toml", f"seeds = [1]\n{text}")


def test_a_long_name_is_cut_and_told_apart(tmp_path: Path):
    values = ", ".join(f'"{"x" * 200}{end}.npz"' for end in "ab")
    found = points(tmp_path / "one.toml", f"[sweep]\ndataset = [{values}]\n")
    assert len({point.name for point in found}) == 2
    assert all(len(point.name) == LONGEST for point in found)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "seedz = [1]",
            "seedz: is not a key (did you mean seeds?), allowed: title, cpu-hours, seeds, sweep, runs, tab",
        ),
        ("num-round = 1", "num-round: is not a key (did you mean num-rounds?)"),
        ("seed = 1", "seed: is not a key here, allowed: seeds = [42, 43, 44]"),
        ('out = "x"', "out: is not a key here"),
        ("seeds = []", "seeds: got [], allowed: a list of at least one value."),
        ("seeds = 1", "seeds: got 1, allowed: a valid list."),
        ('seeds = ["a"]', "seeds.0: got 'a', allowed: a valid integer."),
        ("seeds = [1, 1]", "sweep: seed=1 and seed=1 are the same run, allowed: each run once."),
        ("lr = [0.1, 0.2]", "lr: got a list, allowed: one value, or the list as sweep.lr."),
        ("num-rounds = -1", "num-rounds: got -1, allowed: a whole number, at least 0."),
        ("[sweep]\nnum-rounds = []", "sweep.num-rounds: got [], allowed: a list of at least one value."),
        ("[sweep]\nnum-rounds = 3", "sweep.num-rounds: got 3, allowed: a list of at least one value."),
        ("[sweep]\nnum-rounds = [1, 1]", "sweep: num-rounds=1,seed=42 and num-rounds=1,seed=42 are the same run"),
        ("[sweep]\nnum-round = [1]", "sweep.num-round: is not a key (did you mean num-rounds?)"),
        ("[sweep]\nseed = [1]", "sweep.seed: is not a key here, allowed: seeds"),
        ("[sweep]\ndata = [{ seed = 1 }]", "sweep.data: seed: is not a key here"),
        ("[sweep]\nlr = [{ lr = 1.0 }]", "sweep.lr: got tables, allowed: values of lr, or another name"),
        ("[sweep]\nlr = [0.1]\nx = [{ lr = 1.0 }]", "sweep: sets lr twice, allowed: each key in one list."),
        (
            'algorithm = "local"\n[sweep]\nfed-pub.tau = [1.0]',
            "sweep.fed-pub.tau: is not a key of local, allowed: a sweep of its own in those of [[runs]] that have it.",
        ),
        ("[sweep]\nfed-pub.tau = [-1.0]", "fed-pub.tau: got -1.0, allowed: a number"),
        ("[[runs]]\n", "runs[0].label: got '', allowed: a string, or an algorithm to be called by."),
        ('[[runs]]\nlabel = "a"\n[[runs]]\nlabel = "a"\nlr = 0.1', "runs: got two of the label 'a'"),
        ('[[runs]]\nlabel = "a"\n[[runs]]\nlabel = "b"', "sweep: a,seed=42 and b,seed=42 are the same run"),
        ('[[runs]]\nlabel = "a"\nlr = [0.1]', "runs[0].lr: got a list, allowed: one value, or the list as sweep.lr."),
        (
            '[[runs]]\nlabel = "a"\nlrr = 0.1',
            "runs[0].lrr: is not a key (did you mean lr?), allowed: label, sweep, the",
        ),
        ('[[runs]]\nlabel = "a"\nlr = -1.0', "runs 'a': lr: got -1.0, allowed: a number, at least 0."),
        ('[[runs]]\nlabel = "a b"\n[[runs]]\nlabel = "a-b"\nlr = 0.1', "sweep: two runs would be in the folder a-b,"),
        (
            "[[runs]]\nlabel = 'a'\nsweep = 3",
            "runs[0].sweep: got 3, allowed: lists by key, as in sweep.lr = [0.01, 0.1].",
        ),
        (
            "[table]\nrows = ['lr']\ncolumns = [{ metric = 'val_accuracy', over = 'a', under = 'b' }]",
            "table.columns[0].over: got 'a' beside under, allowed: one of the two.",
        ),
        ("runs = 3", "runs: got 3, allowed: a list of tables."),
        ('engine = "flower"', "engine: got 'flower', allowed in an experiment: inline or ray"),
        ("[table]\ncolumns = ['test_accuracy']", "table.rows: is missing."),
        ("[table]\nrows = ['label']\ncolumns = []", "table.columns: got [], allowed: a list of at least one value."),
        ("[table]\nrows = ['label']\ncolumns = ['test_acc']", "table.columns[0].metric: got 'test_acc' (did you mean"),
        ("[table]\nrows = ['labe']\ncolumns = ['test_accuracy']", "table.rows: got 'labe' (did you mean label?)"),
        (
            "[table]\nrows = ['lr']\ncolumns = ['val_accuracy']\ncolumn = 1",
            "table.column: is not a key (did you mean table.columns?)",
        ),
        (
            "[table]\nrows = ['label']\ncolumns = [{ metric = 'test_accuracy', where.label = 'local' }]",
            "table.columns[0].where: got {'label': 'local'}, allowed: what some run has.",
        ),
        (
            "[table]\nrows = ['label']\ncolumns = [{ metric = 'test_accuracy', over = 'local' }]",
            "table.columns[0].over: got 'local', allowed: fed-pub.",
        ),
        (
            "[table]\nrows = ['label']\ncolumns = ['megabytes_until_target']",
            "table.columns[0].metric: got 'megabytes_until_target', allowed: with table.target.",
        ),
        (
            "[table]\nrows = ['label']\ncolumns = ['val_accuracy']\ntarget = { label = 'fed-pub', share = 2.0 }",
            "table.target.share: got 2.0, allowed: a number, above 0 and at most 1.",
        ),
        (
            "[table]\nrows = ['lr']\ncolumns = ['val_accuracy']\nchoose = 'lr'",
            "table.choose: got 'lr', allowed: one of",
        ),
        (
            "[[runs]]\nalgorithm = 'local'\nsweep.lr = [0.1, 0.2]\n[table]\nrows = ['lr']\n"
            "columns = [{ metric = 'val_accuracy', under = 'local' }]",
            "table.columns[0].under: got 'local', allowed: a label without a sweep of its own.",
        ),
        ("seeds = ", "is not TOML"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_file(text: str, told: str, tmp_path: Path):
    path = tmp_path / "mine.toml"
    with pytest.raises(UserError) as error:
        points(path, text)
    assert str(error.value).startswith(f"{path}: ")
    assert told in str(error.value)
    assert str(error.value).endswith(".")


def test_a_path_wins_over_a_name_and_neither_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert find("digits") == list_built_in()["digits"]
    Path("digits").write_text("")
    assert find("digits") == Path("digits")
    with pytest.raises(
        UserError, match=r"sweep: got 'acuracy' \(did you mean accuracy\?\), allowed: a file, or one of"
    ):
        find("acuracy")


NUMBER_OF_RUNS = {
    "ablation": 16, "accuracy": 72, "digits": 21, "frozen-gain": 24, "global-mask": 7, "images": 96,
    "images-tuning": 22, "sparsity": 48, "uplink": 9,
}  # fmt: skip


@pytest.mark.parametrize("name", list_built_in())
def test_the_shipped_experiments_are_valid_and_have_as_many_runs_as_their_tables_need(name: str):
    path = list_built_in()[name]
    experiment = read_experiment(path)
    found = expand_experiment(experiment, path)
    assert len(found) == NUMBER_OF_RUNS[name]
    assert layout_of(experiment, found) is experiment.table
    assert set(summarise_built_in()) == set(NUMBER_OF_RUNS)
    assert summarise_built_in()[name].startswith(experiment.title)


def test_learning_rates_on_images_are_those_that_tuning_chose_and_not_on_its_seed():
    tuning, images = (read_experiment(list_built_in()[name]) for name in ("images-tuning", "images"))
    assert not set(tuning.seeds) & set(images.seeds)
    grids = {one.label: one.sweep["lr"] for one in tuning.runs}
    for one in images.runs:
        if one.label in grids:
            assert grids[one.label][0] < one.keys["lr"] < grids[one.label][-1]
