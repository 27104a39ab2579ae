import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsieve.algorithms import section_of_key
from fedsieve.catalogue import GRAPH_PARTITIONS, IMAGE_PARTITIONS, OWN_PARTITIONS
from fedsieve.config import check_read, declared_keys, parse, parse_assignment, parse_flower, read
from fedsieve.errors import UserError
from fedsieve.keys import Changes, RecordingKeys, fields, guess_key, key_of, keys_that_change
from tests.helpers import ALGORITHMS

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"num-client": 3}, "num-client: is not a key (did you mean num-clients?), allowed: algorithm, num-rounds, "),
        ({"num_clients": 3}, "num_clients: is not a key (did you mean num-clients?), allowed: algorithm, "),
        ({"Seed": 3}, "Seed: is not a key (did you mean seed?), allowed: algorithm, "),
        ({"sampling": 3}, "sampling: is not a key (did you mean split?), allowed: algorithm, "),
        (
            {"fed-pub.taw": 3},
            "fed-pub.taw: is not a key (did you mean fed-pub.tau?), allowed: fed-pub.tau, fed-pub.spa",
        ),
        ({"fed-pub": {"lamda1": 3}}, "fed-pub.lamda1: is not a key (did you mean fed-pub.lambda1?), allowed: fed-pub."),
        ({"fed-pub.rounds": 3}, "fed-pub.rounds: is not a key, allowed: fed-pub.tau, "),
        ({"algorithm": "fed-avg", "fed-avg.mu": 3}, "fed-avg.mu: is not a key, allowed: none."),
        # the algorithm's name is missing before its key
        ({"taw": 3}, "taw: is not a key (did you mean fed-pub.tau?), allowed: algorithm, "),
        (
            {"frozen-gain": 3},
            "frozen-gain: is not a key (did you mean fed-mask.frozen-gain or fed-pm.frozen-gain or "
            "hide-n-seek.frozen-gain, of another algorithm?), allowed: algorithm, ",
        ),
        ({"tau": 3}, "tau: is not a key (did you mean fed-pub.tau?), allowed: algorithm, "),
        ({"algorithm": "fed-prox", "mu": 3}, "mu: is not a key (did you mean fed-prox.mu?), allowed: algorithm, "),
        ({"settings": 3}, "settings: is not a key"),
        ({"num-clients": "ten"}, "num-clients: got 'ten', allowed: a whole number, at least 1 and at most 1,000,000."),
        ({"num-clients": 2.0}, "num-clients: got 2.0, allowed: a whole number, at least 1 and at most 1,000,000."),
        ({"num-clients": True}, "num-clients: got True, allowed: a whole number, at least 1 and at most 1,000,000."),
        ({"num-clients": 0}, "num-clients: got 0, allowed: a whole number, at least 1 and at most 1,000,000."),
        ({"lr": "fast"}, "lr: got 'fast', allowed: a number, at least 0."),
        ({"lr": -0.1}, "lr: got -0.1, allowed: a number, at least 0."),
        ({"local-epochs": -1}, "local-epochs: got -1, allowed: a whole number, at least 0."),
        ({"alpha": 0.0}, "alpha: got 0.0, allowed: a number, above 0."),
        ({"lr": float("nan")}, "lr: got nan, allowed: a finite number, at least 0."),
        ({"lr": float("inf")}, "lr: got inf, allowed: a finite number, at least 0."),
        ({"fraction-train": 1.5}, "fraction-train: got 1.5, allowed: a number, above 0 and at most 1."),
        ({"dropout": 1.0}, "dropout: got 1.0, allowed: a number, at least 0 and below 1."),
        ({"seed": -1}, "seed: got -1, allowed: a whole number, at least 0 and below 4,294,967,296."),
        ({"seed": 2**32}, "seed: got 4294967296, allowed: a whole number, at least 0 and below 4,294,967,296."),
        ({"optimizer": "lion"}, "optimizer: got 'lion', allowed: 'adam' or 'sgd'."),
        ({"fed-pub.sparsity": "some"}, "fed-pub.sparsity: got 'some', allowed: 'none', 'subgradient' or 'proximal'."),
        (
            {"algorithm": "hide-n-seek", "hide-n-seek.pruner": "magnitude"},
            "hide-n-seek.pruner: got 'magnitude' with hide-n-seek.init = 'signed-constant'",
        ),
        ({"fed-pub.tau": -1}, "fed-pub.tau: got -1, allowed: a number, at least 0."),
        (
            {"algorithm": "fed-pup"},
            "algorithm: got 'fed-pup' (did you mean fed-pub?), allowed: fed-avg, fed-mask, fed-pm, fed-prox, fed-pub, "
            "flwr, hide-n-seek, local, lottery-fl.",
        ),
        ({"algorithm": 3}, "algorithm: got 3, allowed: fed-avg"),
        ({"algorithm": ["fed-pub"]}, "algorithm: got ['fed-pub'], allowed: fed-avg"),
        ({"fedpub.tau": 3}, "fedpub.tau: no algorithm is called 'fedpub' (did you mean fed-pub?), allowed: fed-avg"),
        ({"fedpub": {"tau": 3}}, "fedpub: no algorithm is called 'fedpub' (did you mean fed-pub?), allowed: fed-avg"),
        (
            {"num-workers": 2},
            "num-workers: got 2 with engine = 'inline', allowed: 1, or more with engine = 'ray' or 'flower'.",
        ),
        (
            {"min-clients": 4, "num-clients": 3},
            "min-clients: got 4 with num-clients = 3, allowed: at most the number of clients.",
        ),
        ({"norm-limit": 0.5}, "norm-limit: got 0.5, allowed: 0, or at least 1."),
        (
            {"dp-noise": 1.0, "algorithm": "fed-avg"},
            "dp-noise: got 1 with dp-clip = 0, allowed: 0, or with dp-clip above 0.",
        ),
        (
            {"dp-clip": 1.0},
            "dp-clip: got 1 with algorithm = 'fed-pub', allowed: 0, or with an algorithm whose clients answer with "
            "weights alone: fed-avg, fed-prox, flwr:NAME.",
        ),
        ({"num-workers": -1}, "num-workers: got -1, allowed: a whole number, at least 0 and at most 100,000."),
        (
            {"ray-address": "a:1"},
            "ray-address: got 'a:1' with engine = 'inline', allowed: only with engine = 'ray'.",
        ),
        ({"ray-address": "a:1", "engine": "flower"}, "ray-address: got 'a:1' with engine = 'flower'"),
        ({"train-ratio": 0.5}, "train-ratio, val-ratio: got 0.5 and 0, allowed: both above 0, or neither"),
        ({"train-ratio": 0.5, "val-ratio": 0.5}, "train-ratio + val-ratio: got 1, allowed: below 1"),
        ({"algorithm-config": "tau = "}, "algorithm-config: got 'tau = ', allowed: a string of TOML ("),
        ({"algorithm-config": 3}, "algorithm-config: got 3, allowed: a string of TOML ("),
        (
            {"algorithm": "fed-pub", "algorithm-config": "taw = 3"},
            "fed-pub.taw: is not a key (did you mean fed-pub.tau?), allowed: fed-pub.tau, ",
        ),
        (
            {"algorithm-config": "taw = 3"},
            "fed-pub.taw: is not a key (did you mean fed-pub.tau?), allowed: fed-pub.tau, ",
        ),
        (
            {"algorithm": "fed-pub", "algorithm-config": "tau = 'x'"},
            "fed-pub.tau: got 'x', allowed: a number, at least 0.",
        ),
        # keys of an algorithm that does not run
        ({"algorithm": "local", "fed-prox.mu": -1}, "fed-prox.mu: got -1, allowed: a number, at least 0."),
        (
            {"algorithm": "local", "fed-prox.mu": 1.0},
            "fed-prox.mu: is a key of fed-prox, allowed: with algorithm = 'fed-prox'; this run's is 'local'.",
        ),
        (
            {"fed-prox": {"mu": 1.0}},
            "fed-prox.mu: is a key of fed-prox, allowed: with algorithm = 'fed-prox'; this run's is 'fed-pub'.",
        ),
        # names that people try
        ({"rounds": 3}, "rounds: is not a key (did you mean num-rounds?), allowed: "),
        ({"learning_rate": 3}, "learning_rate: is not a key (did you mean lr?), allowed: "),
        ({"Epochs": 3}, "Epochs: is not a key (did you mean local-epochs?), allowed: "),
        ({"engine": "rey"}, "engine: got 'rey', allowed: 'inline', 'ray' or 'flower'."),
    ],
)
def test_a_fault_is_one_sentence_that_names_key_given_and_allowed(values: dict[str, Any], sentence: str):
    with pytest.raises(UserError) as caught:
        parse(values)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_flat_and_nested_keys_are_the_same():
    flat = parse({"fed-pub.tau": 5, "fed-pub.prox": 0.25, "seed": 1})
    assert flat == parse({"fed-pub": {"tau": 5, "prox": 0.25}, "seed": 1})
    assert flat == parse({"fed-pub": {"tau": 5}, "fed-pub.prox": 0.25, "seed": 1})
    assert flat.settings.tau == 5.0  # type: ignore[attr-defined]
    assert flat != parse({"seed": 1})


@pytest.mark.parametrize("chosen", [{}, {"algorithm": "fed-pub"}])
def test_an_algorithms_keys_may_come_as_one_string(chosen: dict[str, str]):
    assert parse(chosen | {"algorithm-config": "tau = 5\nsparsity = 'none'"}) == parse(
        {"fed-pub.tau": 5, "fed-pub.sparsity": "none"}
    )
    assert parse(chosen | {"algorithm-config": ""}) == parse({})


def test_flower_gives_the_declared_keys_of_all_algorithms_and_those_of_others_are_left_out():
    assert parse_flower(declared_keys() | {"algorithm": "local"}) == parse({"algorithm": "local"})
    assert parse_flower(declared_keys() | {"fed-pub.tau": 5.0}) == parse({"fed-pub.tau": 5.0})
    with pytest.raises(UserError, match=r"^fed-prox\.mu: is a key of fed-prox"):
        parse_flower(declared_keys() | {"fed-prox.mu": 0.5})


def test_keys_are_validated_without_torch_or_flower(tmp_path: Path):
    script = (
        "import sys; from fedsieve.config import *; from fedsieve.algorithms import algorithm_names\n"
        "for name in ('fed-avg', 'fed-mask', 'fed-pm', 'fed-prox', 'fed-pub', 'hide-n-seek', 'local', 'lottery-fl'):\n"
        "    parse({'algorithm': name, 'dataset': sys.argv[1]})\n"
        "print([name for name in ('torch', 'torch_geometric', 'flwr', 'ray') if name in sys.modules])"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == "[]"


def test_a_path_may_begin_with_the_home_folder_wherever_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "images").mkdir()
    (tmp_path / "run.toml").write_text("dataset = '~/images'\nout = '~/run'")
    for given_ in (read(tmp_path / "run.toml"), dict(map(parse_assignment, ("dataset=~/images", "out=~/run")))):
        run = parse(given_)
        assert (run.dataset, run.out, run.model) == (str(tmp_path / "images"), str(tmp_path / "run"), "lenet")
    assert RecordingKeys(out="~/run").out == str(tmp_path / "run")
    assert parse({"out": "~nobody-of-that-name/run"}).out == "~nobody-of-that-name/run"


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path):
    (tmp_path / "run.toml").write_bytes(b"\xef\xbb\xbfseed = 3\r\n")
    assert read(tmp_path / "run.toml") == {"seed": 3}


def test_no_two_keys_are_meant_by_one_name():
    names = [name for field in fields().values() for name in key_of(field).instead_of]
    assert len(names) == len(set(names))
    assert not set(names) & set(fields())
    assert guess_key("Learning_Rate") == "lr"
    assert guess_key("dropouts") == ""


def test_what_a_key_changes():
    assert keys_that_change(Changes.NOTHING) == {
        "engine", "num-workers", "ray-address", "out", "state-memory-mb", "round-timeout", "checkpoint-every",
        "tensorboard", "trackers",
    }  # fmt: skip
    assert keys_that_change(Changes.LATER) == {"num-rounds", "patience", "min-clients", "norm-limit"}
    assert keys_that_change(Changes.DATA) == {
        "dataset", "partition", "num-clients", "data-seed", "train-ratio", "val-ratio", "largest-component",
        "clients-per-part", "alpha", "classes-per-client", "shards-per-client", "examples-per-client", "column",
        "split", "undirected", "image-column", "label-column",
    }  # fmt: skip


OWN = {
    "fed-pub": {"fed-pub.lambda1": st.floats(0, 1), "fed-pub.sparsity": st.sampled_from(["none", "proximal"])},
    "fed-avg": {},
    "fed-prox": {"fed-prox.mu": st.floats(0, 1)},
    "local": {},
}
FINE = st.fixed_dictionaries(
    {},
    optional={
        "num-clients": st.integers(1, 100),
        "seed": st.integers(0, 2**32 - 1),
        "lr": st.floats(1e-9, 10),
        "fraction-train": st.floats(1e-6, 1.0),
        "dataset": st.text(st.characters(codec="utf-8", exclude_characters=":"), max_size=20),
        "optimizer": st.sampled_from(["adam", "sgd"]),
        "algorithm": st.sampled_from(list(OWN)),
    },
)


@given(
    FINE.flatmap(
        lambda values: st.fixed_dictionaries(
            {name: st.just(value) for name, value in values.items()}, optional=OWN[values.get("algorithm", "fed-pub")]
        )
    )
)
def test_a_configuration_survives_toml_and_flowers_flat_form(values: dict[str, Any]):
    chosen = values.get("algorithm", "fed-pub")
    run = parse({key: value for key, value in values.items() if section_of_key(key) in ("", chosen)})
    assert parse(tomllib.loads(run.toml())) == run
    assert parse(run.flat()) == run
    assert all(type(value) in (str, int, float, bool) for value in run.flat().values())
    assert all(run.flat()[key] == value for key, value in values.items() if "." not in key and key != "dataset")


OPEN = ("partition", "model", "local-epochs", "lr")
"""Keys that a user may leave open."""


@pytest.mark.parametrize(
    ("algorithm", "dataset", "chosen"),
    [
        ("fed-pub", "cora", ("metis", "gcn", 1, 0.01)),
        ("fed-pub", "digits", ("dirichlet", "mlp", 1, 0.01)),
        ("fed-avg", "my-images.parquet", ("dirichlet", "lenet", 1, 0.01)),
        ("local", "my-graph.npz", ("metis", "gcn", 1, 0.01)),
        ("hide-n-seek", "cora", ("metis", "gcn", 20, 0.01)),
        ("hide-n-seek", "mnist", ("dirichlet", "lenet", 5, 0.01)),
        ("fed-pm", "cora", ("metis", "gcn", 20, 0.1)),
        ("fed-pm", "cifar10", ("dirichlet", "lenet", 5, 0.1)),
    ],
)
def test_keys_left_open_are_chosen_by_the_kind_of_data_and_the_algorithm(
    algorithm: str, dataset: str, chosen: tuple[object, ...]
):
    flat = parse({"algorithm": algorithm, "dataset": dataset}).flat()
    assert tuple(flat[key] for key in OPEN) == chosen
    # and so they are where the user says that they are open
    said = {"partition": "auto", "model": "auto", "local-epochs": 0, "lr": 0.0}
    assert parse({"algorithm": algorithm, "dataset": dataset} | said).flat() == flat
    assert parse({"algorithm": algorithm, "dataset": dataset, "lr": 0}).flat() == flat


def test_a_folder_of_images_is_known_by_being_one(tmp_path: Path):
    run = parse({"dataset": str(tmp_path)})
    assert (run.partition, run.model) == ("dirichlet", "lenet")
    run = parse({"dataset": str(tmp_path / "none")})
    assert (run.partition, run.model) == ("metis", "gcn")


def test_a_given_value_goes_before_the_algorithms():
    given_ = {"partition": "iid", "model": "mlp", "local-epochs": 3, "lr": 0.25}
    flat = parse({"algorithm": "fed-pm", "dataset": "mnist"} | given_).flat()
    assert {key: flat[key] for key in OPEN} == given_
    # the others are chosen all the same, and the given one may be what another algorithm would have
    run = parse({"algorithm": "fed-pm", "dataset": "mnist", "lr": 0.01})
    assert (run.lr, run.local_epochs, run.model) == (0.01, 5, "lenet")


@pytest.mark.parametrize("dataset", ["cora", "mnist"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_was_chosen_is_kept_and_read_back(algorithm: str, dataset: str, tmp_path: Path):
    run = parse({"algorithm": algorithm, "dataset": dataset})
    (tmp_path / "config.toml").write_text(run.toml())
    written = read(tmp_path / "config.toml")
    assert all(written[key] not in ("auto", 0) for key in OPEN)
    assert parse(written) == run
    # Flower's run config holds every key that pyproject declares, the open ones as they stand there
    assert parse_flower(declared_keys() | {"algorithm": algorithm, "dataset": dataset}) == run
    assert parse(run.flat()) == run


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("model", 3, "model: got 3, allowed: a string."),
        ("partition", True, "partition: got True, allowed: a string."),
        ("lr", False, "lr: got False, allowed: a number, at least 0."),
        ("local-epochs", False, "local-epochs: got False, allowed: a whole number, at least 0."),
        ("local-epochs", 0.0, "local-epochs: got 0.0, allowed: a whole number, at least 0."),
        ("dataset", 3, "dataset: got 3, allowed: a string."),
    ],
)
def test_a_value_of_another_type_does_not_leave_a_key_open(key: str, value: object, sentence: str):
    with pytest.raises(UserError) as caught:
        parse({key: value})
    assert str(caught.value) == sentence


def test_every_key_has_a_description():
    assert all(field.description for field in fields().values())
    assert "settings" not in fields()


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("seed=3", ("seed", 3)),
        ("lr = 1e-2", ("lr", 0.01)),
        ("alpha=.4", ("alpha", 0.4)),
        ("alpha=-4.", ("alpha", -4.0)),
        ("out=.", ("out", ".")),
        ("fed-pub.sparsity=none", ("fed-pub.sparsity", "none")),
        ("dataset='3'", ("dataset", "3")),
        ("dataset=a=b.npz", ("dataset", "a=b.npz")),
        ("x=true", ("x", True)),
        ("out=", ("out", "")),
        ('algorithm-config="tau = 3"', ("algorithm-config", "tau = 3")),
    ],
)
def test_an_assignment_is_read_as_toml_or_as_plain_text(text: str, pair: tuple[str, object]):
    assert parse_assignment(text) == pair
    assert type(parse_assignment(text)[1]) is type(pair[1])


@pytest.mark.parametrize("text", ["seed", "=3", "  =3", "seed=[1, 2]", "seed={a=1}", "seed=2024-01-01"])
def test_an_assignment_that_is_none_is_one_sentence(text: str):
    with pytest.raises(UserError, match=r"^-s .*allowed: "):
        parse_assignment(text)


def test_a_file_that_is_missing_or_no_toml_is_one_sentence(tmp_path: Path):
    with pytest.raises(UserError, match=r"none.toml: cannot be read: No such file"):
        read(tmp_path / "none.toml")
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path)
    for name, content in (("broken.toml", b"seed = "), ("binary.toml", b"\xff\xfe\x00")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name}: is not TOML") as caught:
            read(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_averaged_buffers_are_not_sent_beside_clipped_weights():
    with pytest.raises(
        UserError, match=r"^buffers: got 'averaged' with dp-clip = 1, which bounds weights alone, allow"
    ):
        parse({"algorithm": "fed-avg", "dp-clip": 1.0, "buffers": "averaged"})
    assert parse({"algorithm": "fed-avg", "dp-clip": 1.0}).buffers == "personal"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"alpha": 0.3}, "alpha: got 0.3 with partition = 'metis', which does not read it, allowed: with one of the "
         "partitions that do, label-dirichlet, feature-dirichlet, dirichlet, DirichletPartitioner, InnerDirichletPar"),
        ({"dataset": "digits", "partition": "iid", "classes-per-client": 3}, "classes-per-client: got 3 with partition "
         "= 'iid', which does not read it, allowed: with one of the partitions that do, pathological, Pathological"),
        ({"dataset": "digits", "shards-per-client": 3}, "shards-per-client: got 3 with partition = 'dirichlet', which"),
        ({"clients-per-part": 3}, "clients-per-part: got 3 with partition = 'metis', which does not read it"),
    ],
)  # fmt: skip
def test_a_key_that_the_partition_does_not_read_is_one_sentence(values: dict[str, Any], sentence: str):
    run = parse(values)  # what is read back, such as a run to be resumed, may have it
    with pytest.raises(UserError) as error:
        check_read(run)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(
    "values",
    [
        {"alpha": 0.5, "classes-per-client": 2},
        {"partition": "label-dirichlet", "alpha": 0.3},
        {"dataset": "digits", "alpha": 0.3},
        {"dataset": "digits", "partition": "PathologicalPartitioner", "classes-per-client": 3},
        {"partition": "no such one", "alpha": 0.3},
    ],
)
def test_a_key_at_its_default_or_that_is_read_is_fine(values: dict[str, Any]):
    check_read(parse(values))


def test_what_keys_say_of_partitions_are_partitions():
    named = {name for field in fields().values() for name in key_of(field).partitions}
    assert named <= {*GRAPH_PARTITIONS, *IMAGE_PARTITIONS, *OWN_PARTITIONS}
