import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedsieve.algorithms import algorithm_names, all_algorithm_names
from fedsieve.catalogue import OWN_PARTITIONS
from fedsieve.config import RunConfig, parse, read
from fedsieve.data.graphs import DATASETS
from fedsieve.data.image_cuts import IMAGE_PARTITIONS
from fedsieve.data.image_sets import IMAGE_DATASETS
from fedsieve.data.partitions import PARTITIONS
from fedsieve.keys import fields
from fedsieve.masks.family import family_names
from fedsieve.masks.pruning import pruner_names
from fedsieve.models import MODELS
from fedsieve.reports.page import PNG_NAMES
from fedsieve.simulations.experiment import list_built_in
from tests.helpers import fedsieve, rounds_of, summary_of, write_graph

SHORT = ("--num-clients", 3, "--num-rounds", 2, "-s", "hidden-dim=4", "--quiet")

SUMMARY_KEYS = [
    "algorithm", "dataset", "partition", "model", "engine", "seed", "num_clients", "num_rounds", "best_round",
    "test_accuracy", "test_accuracy_std", "test_macro_f1", "test_accuracy_final", "test_accuracy_received",
    "test_accuracy_global",
    "test_accuracy_per_client", "uplink_bytes_per_client_round", "downlink_bytes_per_client_round",
    "uplink_payload_bytes_per_client_round", "downlink_payload_bytes_per_client_round",
    "mask_sparsity", "seconds_per_round", "cpu_seconds", "wall_seconds", "peak_rss_mb", "rejected_replies",
    "lost_states", "label_counts", "ended", "versions",
]  # fmt: skip
"""As DESIGN.md lists them; model, test_accuracy_global, the downlink's payload and lost_states are ours."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where no `runs/` of the user's lies."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", "-s", "num-client=3"), "num-client: is not a key (did you mean num-clients?), allowed: algorithm"),
        (("run", "-s", "fed-pub.tua=3"), "fed-pub.tua: is not a key (did you mean fed-pub.tau?)"),
        (("run", "-s", "num-clients=ten"), "num-clients: got 'ten', allowed: a whole number, at least 1 and at most"),
        (("run", "--num-clients", "ten"), "ten"),
        (("run", "--fraction-train", "most"), "most"),
        (("run", "--no-such-flag"), "--no-such-flag"),
        (("runn",), "runn"),
        (("run", "-s", "num-clients"), "-s num-clients: got no '=', allowed: key=value"),
        (("run", "-s", "lr", 0.1), "-s lr: got no '=' (did you mean -s lr=0.1?), allowed: key=value."),
        (("run", "run.toml", "-s", "lr", 0.1), "-s lr: got no '=' (did you mean -s lr=0.1?), allowed: key=value."),
        (("run", "-s", "lr", "=", 0.1), "-s lr: got no '=' (did you mean -s lr=0.1?), allowed: key=value."),
        (("run", "-s", "lr=", 0.1), "-s lr=: got no value (did you mean -s lr=0.1?), allowed: key=value."),
        (
            ("run", "-s", "lr=0.1", "seed=3"),
            "run seed=3: is no file of keys (did you mean -s seed=3?), allowed: a TOML",
        ),
        (("run", "cora"), "run cora: is no file of keys (did you mean --dataset cora?), allowed: a TOML file."),
        (("run", "corra"), "run corra: is no file of keys (did you mean --dataset cora?)"),
        (("run", "mine.npz"), "run mine.npz: is no file of keys (did you mean --dataset mine.npz?)"),
        (("run", "fed-pub"), "run fed-pub: is no file of keys (did you mean --algorithm fed-pub?)"),
        (
            ("run", "fed-pub", "cora"),
            "run fed-pub cora: is no file of keys (did you mean --algorithm fed-pub --dataset c",
        ),
        (("run", "louvain"), "run louvain: is no file of keys (did you mean --partition louvain?)"),
        (("run", "rounds"), "run rounds: is no file of keys (did you mean --num-rounds VALUE?)"),
        (("run", "a.toml", "b.toml"), "run: got a.toml and b.toml, allowed: one TOML file of keys."),
        (("deploy", "run", "x", "cora"), "deploy run cora: is no file of keys (did you mean --dataset cora?)"),
        (
            ("run", "--lrr", 1),
            "--lrr: is not a flag (did you mean --lr?), allowed: every key, as in --lr 0.1; see --he",
        ),
        (("run", "-lr", 1), "-lr: is not a flag (did you mean --lr?)"),
        (("run", "--learning-rate=1"), "--learning-rate: is not a flag (did you mean --lr?)"),
        (("run", "--epochs", 1), "--epochs: is not a flag (did you mean --local-epochs?)"),
        (("run", "--rounds", 1), "--rounds: is not a flag (did you mean --num-rounds?)"),
        (("run", "--clients", 1), "--clients: is not a flag (did you mean --num-clients?)"),
        (("run", "--num_clients", 1), "--num_clients: is not a flag (did you mean --num-clients?)"),
        (("run", "--tau", 1), "--tau: is not a flag (did you mean --fed-pub.tau?)"),
        (("run", "--algorithm", "fed-prox", "--mu", 1), "--mu: is not a flag (did you mean --fed-prox.mu?)"),
        (
            ("deploy", "run", "x", "--engine", "ray"),
            "--engine: is a key that cannot be given here, allowed: --algorithm",
        ),
        (("run", "--fed-pub.tua", 3), "fed-pub.tua: is not a key (did you mean fed-pub.tau?)"),
        (("run", "--fed-pub.tau"), "--fed-pub.tau: got no value, allowed: --fed-pub.tau VALUE."),
        (("run", "--fed-prox.mu=1"), "fed-prox.mu: is a key of fed-prox, allowed: with algorithm = 'fed-prox'; this "),
        (("run", "--optimizer", "lion"), "optimizer: got 'lion', allowed: 'adam' or 'sgd'."),
        (("run", "-s", "lr=[1]"), "-s lr=[1]: got a list"),
        (("run", "--num-clients", 0), "num-clients: got 0, allowed: a whole number, at least 1 and at most 1,000,000."),
        (("run", "--fraction-train", 2), "fraction-train: got 2.0"),
        (("run", "--dataset", "coral"), "'coral' is unknown (did you mean cora?); allowed are digits-knn, cora"),
        (("run", "--dataset", "none.npz"), "no such file"),
        (("run", "--algorithm", "fed-pup"), "algorithm: got 'fed-pup' (did you mean fed-pub?), allowed: fed-avg"),
        (
            ("run", "--partition", "metris", *SHORT),
            "'metris' is unknown (did you mean metis?); allowed for graphs are metis",
        ),
        (("run", "--engine", "rey"), "engine: got 'rey', allowed: 'inline', 'ray' or 'flower'."),
        (
            ("run", "--engine", "ray", "--ray-address", "127.0.0.1:1", "--quiet"),
            "ray-address: got '127.0.0.1:1', which cannot be joined ([Errno 111] Connection refused); allowed: ",
        ),
        (
            ("run", "--engine", "ray", "--ray-address", "somewhere", "--quiet"),
            "ray-address: got 'somewhere', which cannot be joined (",
        ),
        (
            ("run", "--engine", "ray", "--ray-address", "ray://127.0.0.1:1", "--quiet"),
            "ray-address: got 'ray://127.0.0.1:1', which cannot be joined (",
        ),
        (("run", "--engine", "ray", "--dataset", "none.npz"), "no such file"),
        (("run", "--engine", "flower", "--dataset", "none.npz"), "no such file"),
        (("run", "-s", "model=lenet", *SHORT), "model: got 'lenet', allowed for graph data: gcn"),
        (("run", "-s", "model=sagee", *SHORT), "model: got 'sagee' (did you mean sage?), allowed: gcn, sage,"),
        (("run", "none.toml"), "none.toml: cannot be read"),
        (("list", "algorithm"), "list: got 'algorithm', allowed: algorithms"),
        (("report", "none"), "none: holds no readable summary.json"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: tuple[object, ...], told: str, capfd: pytest.CaptureFixture[str], graph_file: Path
):
    if "-s" in arguments and "hidden-dim=4" in arguments:
        arguments = (*arguments, "--dataset", graph_file)
    check_mistake(arguments, told, capfd)


def check_mistake(arguments: tuple[object, ...], told: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert fedsieve(*arguments) == 2
    out, err = capfd.readouterr()
    assert told in err
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1, err
    assert out == ""
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arrays", "arguments", "told"),
    [
        ({}, ("--num-clients", 91), "num-clients = 91 is too many for a graph of 90 nodes"),
        ({"x": np.full((90, 2), np.nan)}, (), "x holds 180 values that are NaN or infinite"),
        ({"y": np.full(90, 91)}, (), "y names 1 class(es); classification needs at least 2"),
        ({"edge_index": np.array([[0], [90]])}, (), "edge_index names nodes from 0 to 90"),
        ({"y": None}, (), "y is missing"),
    ],
)
def test_a_graph_that_cannot_be_learnt_from_is_one_line_before_training(
    arrays: dict[str, Any], arguments: tuple[object, ...], told: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    path = write_graph(tmp_path / "own.npz", **arrays)
    check_mistake(("run", "--dataset", path, "--out", "run", *arguments), told, capfd)
    assert not Path("run").exists()


@pytest.mark.parametrize("command", [("run",), ("partition", "digits-knn", "--out", "parts")])
def test_a_key_that_is_not_read_is_one_line(command: tuple[str, ...], capfd: pytest.CaptureFixture[str]):
    check_mistake((*command, "-s", "alpha=0.3"), "alpha: got 0.3 with partition = 'metis', which does not read", capfd)


def test_a_broken_file_is_one_line(tmp_path: Path, graph_file: Path, capfd: pytest.CaptureFixture[str]):
    graph_file.write_bytes(graph_file.read_bytes()[:100])
    check_mistake(("run", "--dataset", graph_file), "is not a graph that can be read", capfd)
    (tmp_path / "broken.toml").write_text("seed = ")
    check_mistake(("run", "broken.toml"), "broken.toml: is not TOML", capfd)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_one_line(graph_file: Path, capfd: pytest.CaptureFixture[str]):
    check_mistake(("run", "--dataset", graph_file, "--device", "cuda", "--num-rounds", 1), "device: got 'cuda'", capfd)


def test_a_folder_that_is_not_empty_is_one_line_and_left_alone(graph_file: Path, capfd: pytest.CaptureFixture[str]):
    Path("full").mkdir()
    Path("full/mine").write_text("kept")
    check_mistake(("run", "--dataset", graph_file, *SHORT, "--out", "full"), "full, which is not empty", capfd)
    assert [path.name for path in Path("full").iterdir()] == ["mine"]


def test_json_prints_the_summary_and_nothing_else(graph_file: Path, capfd: pytest.CaptureFixture[str]):
    assert fedsieve("run", "--dataset", graph_file, *SHORT[:-1], "--json", "--out", "run") == 0
    out = capfd.readouterr().out
    assert json.loads(out) == summary_of(Path("run"))
    assert list(json.loads(out)) == SUMMARY_KEYS


def test_a_run_fills_its_folder(drawn: None, graph_file: Path, capfd: pytest.CaptureFixture[str]):
    assert fedsieve("run", "--dataset", graph_file, *SHORT[:-1], "--out", "run") == 0
    found = {str(path.relative_to("run")) for path in Path("run").rglob("*") if path.is_file()}
    clients = [f"model/client-{k}.safetensors" for k in range(3)]
    for at in (1, 2):
        each = [f"{name}-{k}-{at}.safetensors" for name in ("client", "server-client") for k in range(3)]
        clients += [f"checkpoint/{name}" for name in (*each, f"server-{at}.safetensors", f"manifest-{at}.json")]
    files = ["config.toml", "data.json", "rounds.jsonl", "timings.jsonl", "clients.csv", "summary.json", "report.html"]
    files += ["similarity.safetensors", *(f"figures/{name}" for name in PNG_NAMES)]
    assert found == {*files, *clients}
    out, err = capfd.readouterr()
    assert "fed-pub" in out
    assert "The run is in run." in out
    assert "fed-pub round 2/2: val " in err


def test_quiet_hides_progress_but_not_the_result(graph_file: Path, capfd: pytest.CaptureFixture[str]):
    assert fedsieve("run", "--dataset", graph_file, *SHORT) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "fed-pub" in out
    (folder,) = Path("runs").iterdir()
    assert f"The run is in {folder}." in out


def test_a_dry_run_prints_a_configuration_that_can_be_run_and_does_not_run(capfd: pytest.CaptureFixture[str]):
    script = (
        "import sys; from fedsieve import cli; sys.argv = ['fedsieve', *sys.argv[1:]]\n"
        "try: cli.main()\n"
        "except SystemExit: print([name for name in ('torch', 'torch_geometric', 'flwr') if name in sys.modules])"
    )
    asked = ["run", "--lr", "0.25", "--model", "sage", "--batch-size", "3", "--fed-pub.tau", "5", "--tensorboard"]
    command = [sys.executable, "-c", script, *asked, "--dry-run", "--quiet"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed.endswith("[]\n")
    keys = {"lr": 0.25, "model": "sage", "batch-size": 3, "fed-pub.tau": 5, "tensorboard": True}
    assert parse(tomllib.loads(printed.removesuffix("[]\n"))) == parse(keys)
    assert list(Path().iterdir()) == []


def test_a_dry_run_shows_clients_and_sizes_beside_the_configuration(capfd: pytest.CaptureFixture[str]):
    asked = ["run", "--dataset", "digits", "--num-clients", "3", "--partition", "iid", "--algorithm", "fed-avg"]
    assert fedsieve(*asked, "--dry-run") == 0
    out, err = capfd.readouterr()
    assert parse(tomllib.loads(out)).num_clients == 3
    assert "3 clients, 1,797 examples" in err
    assert "mlp: 55,210 parameters" in err
    assert "a round: 222 kB to a client and at most 221 kB back" in err
    assert "memory: 129 kB for the data and 883 kB for" in err
    assert list(Path().iterdir()) == []


def test_a_partition_is_written_and_refuses_a_folder_with_something_in_it(capfd: pytest.CaptureFixture[str]):
    asked = ["partition", "digits", "--num-clients", "3", "--partition", "iid", "--out", "parts", "--quiet"]
    assert fedsieve(*asked) == 0
    assert "parts has a file for each of 3 clients, client-0.parquet first" in capfd.readouterr().out
    assert sorted(path.name for path in Path("parts").iterdir()) == [f"client-{at}.parquet" for at in range(3)]
    assert fedsieve(*asked) == 2
    assert "out: got parts, which is not empty, allowed: a new or an empty folder." in capfd.readouterr().err


@pytest.mark.parametrize("command", [("run",), ("deploy", "run"), ("resume",)])
def test_every_key_is_a_flag_and_explained(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch,
                                           capfd: pytest.CaptureFixture[str]):  # fmt: skip
    monkeypatch.setenv("COLUMNS", "200")
    assert fedsieve(*command, "--help") == 0
    out = " ".join(capfd.readouterr().out.replace("│", " ").split())
    skipped = {("run",): set(), ("deploy", "run"): {"engine", "num-workers", "ray-address"},
               ("resume",): fields().keys() - {"tensorboard", "trackers"}}[command]  # fmt: skip
    for key, field in fields().items():
        assert (f"--{key} " in out) is (key not in skipped)
        assert key in skipped or " ".join(str(field.description).split()[:5]) in out


def test_what_a_run_prints_is_not_in_the_way_of_json(graph_file: Path, capfd: pytest.CaptureFixture[str]):
    net = "import os\nfrom torch import nn\ndef make(s, c):\n    print('mine'); os.write(1, b'mine')\n"
    Path("nets_that_print.py").write_text(net + "    return nn.Sequential(nn.Flatten(), nn.Linear(64, c))\n")
    asked = ("--dataset", "digits", "--model", "nets_that_print:make", "--num-clients", 2, "--num-rounds", 1)
    assert fedsieve("run", *asked, "--json", "--out", "run") == 0
    assert json.loads(capfd.readouterr().out) == summary_of(Path("run"))


def test_ctrl_c_says_how_the_run_is_resumed(
    graph_file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    def interrupted(run: RunConfig, *, quiet: bool) -> None:
        if run.out != "not begun":
            Path(run.out).mkdir()
            Path(run.out, "config.toml").write_text(run.toml())
        raise KeyboardInterrupt

    monkeypatch.setattr("fedsieve.simulations.simulate", interrupted)
    assert fedsieve("run", "--out", "my run") == 130
    assert capfd.readouterr().err == "fedsieve: interrupted; resume it with: fedsieve resume 'my run'\n"
    assert fedsieve("run", "--out", "not begun") == 130
    assert capfd.readouterr().err == "fedsieve: interrupted\n"


def test_flags_override_assignments_and_both_the_file(graph_file: Path, capfd: pytest.CaptureFixture[str]):
    Path("run.toml").write_text(
        f"dataset = '{graph_file}'\nseed = 1\nnum-clients = 2\nnum-rounds = 1\nhidden-dim = 4\n"
        "[fed-pub]\ntau = 1.0\nprox = 0.25\n"
    )
    arguments = ("-s", "seed=2", "-s", "num-clients=3", "-s", "fed-pub.tau=9", "--num-clients", 4)
    assert fedsieve("run", "run.toml", *arguments, "--quiet", "--out", "run") == 0
    kept = parse(read(Path("run/config.toml"))).flat()
    assert [kept[key] for key in ("seed", "num-clients", "num-rounds", "fed-pub.tau", "fed-pub.prox")] == [
        2,
        4,
        1,
        9,
        0.25,
    ]


def test_a_runs_configuration_gives_the_same_run_again(graph_file: Path):
    assert fedsieve("run", "--dataset", graph_file, *SHORT, "--out", "one", "--seed", 5) == 0
    assert fedsieve("run", "one/config.toml", "--out", "two", "--quiet") == 0
    assert Path("one/rounds.jsonl").read_bytes() == Path("two/rounds.jsonl").read_bytes()
    assert Path("one/config.toml").read_bytes() == Path("two/config.toml").read_bytes()


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("algorithms", all_algorithm_names()),
        ("datasets", [*DATASETS, *IMAGE_DATASETS]),
        ("partitions", [*PARTITIONS, *IMAGE_PARTITIONS, *OWN_PARTITIONS]),
        ("models", [*MODELS, "my_package.my_module:my_function"]),
        ("masks", family_names()),
        ("pruners", pruner_names()),
        ("experiments", [*list_built_in()]),
    ],
)
def test_list_prints_every_name_with_a_line_on_it(what: str, names: Any, capfd: pytest.CaptureFixture[str]):
    assert fedsieve("list", what) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(names)
    # the names take one width, and two blanks part them from what is said
    width = max(map(len, names))
    assert all(line[width : width + 2] == "  " and line[width + 2] != " " for line in lines)
    assert all(len(line.split()) > 2 for line in lines)


@pytest.mark.parametrize(
    ("what", "graph", "images"),
    [("datasets", "cora", "mnist"), ("partitions", "metis", "dirichlet"), ("models", "gcn", "lenet")],
)
def test_list_says_what_is_for_graphs_and_what_for_images(
    what: str, graph: str, images: str, capfd: pytest.CaptureFixture[str]
):
    assert fedsieve("list", what) == 0
    told = dict(line.split(maxsplit=1) for line in capfd.readouterr().out.splitlines())
    assert told[graph].startswith("graph: ")
    assert told[images].startswith("images: ")


def test_the_built_in_algorithms_are_listed():
    assert set(algorithm_names()) >= {"fed-pub", "fed-avg", "fed-prox", "local"}


def test_patience_stops_early(graph_file: Path):
    run = ("run", "--dataset", graph_file, "--num-clients", 2, "--quiet", "-s", "hidden-dim=4", "--num-rounds", 200)
    assert fedsieve(*run, "--patience", 2, "--out", "run") == 0
    lines = rounds_of(Path("run"))
    assert 3 <= len(lines) < 200
    best = max(line["val_accuracy"] for line in lines[:-2])
    assert all(line["val_accuracy"] <= best for line in lines[-2:])
    assert summary_of(Path("run"))["num_rounds"] == len(lines)


def test_no_rounds_are_a_run_too(graph_file: Path):
    assert fedsieve("run", "--dataset", graph_file, "--num-rounds", 0, "--num-clients", 2, "--out", "run") == 0
    assert list(summary_of(Path("run"))) == SUMMARY_KEYS
    assert summary_of(Path("run"))["test_accuracy"] is None


def test_runs_are_compared_and_reported(drawn: None, graph_file: Path, capfd: pytest.CaptureFixture[str]):
    for algorithm in ("fed-pub", "local"):
        assert fedsieve("run", "--dataset", graph_file, *SHORT, "--algorithm", algorithm, "--out", algorithm) == 0
    Path("local/report.html").unlink()
    assert fedsieve("report", "fed-pub", "local") == 0
    out = capfd.readouterr().out
    accuracies = [f"{100 * summary_of(Path(name))['test_accuracy']:.1f}" for name in ("fed-pub", "local")]
    rows = {
        line.split()[0]: line for line in reversed(out.splitlines()) if line.strip().startswith(("fed-pub ", "local "))
    }
    assert accuracies[0] in rows["fed-pub"]
    assert accuracies[1] in rows["local"]
    assert "Paired differences" in out
    assert "local/report.html, and PNG files of its figures in local/figures" in out
    assert "comparison.html, which compares them, and PNG files of its figures in comparison-figures" in out
    assert "<svg" in Path("local/report.html").read_text()
    assert "worse than in the local-only run local;" in Path("fed-pub/report.html").read_text()
    assert Path("comparison.html").read_text().count("<svg") == 3
    assert {path.name for path in Path("comparison-figures").iterdir()} == {
        f"over-{x}.png" for x in ("rounds", "bytes", "seconds")
    }


def test_a_comparison_overwrites_nothing_of_the_users(graph_file: Path, capfd: pytest.CaptureFixture[str]):
    assert fedsieve("run", "--dataset", graph_file, *SHORT, "--out", "run") == 0
    Path("comparison.html").write_text("<html>a thesis</html>")
    shutil.copytree("run", "again")
    assert fedsieve("report", "run", "again") == 2
    assert "--out: comparison.html is no report of FedSieve's, and is left as it is" in capfd.readouterr().err
    assert Path("comparison.html").read_text() == "<html>a thesis</html>"
    assert fedsieve("report", "run", "--out", "other.html") == 2
    assert "--out: names the page that compares runs, got one run" in capfd.readouterr().err


def test_the_command_line_is_imported_without_torch(tmp_path: Path):
    script = "import sys, fedsieve.cli; print([name for name in ('torch', 'flwr', 'ray') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=os.environ)
    assert done.stdout.strip() == "[]"


def test_ray_is_imported_by_the_engines_that_need_it_only():
    script = "import sys, fedsieve.simulations, fedsieve.server.app; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=os.environ)
    assert done.stdout.strip() == "False"


OWN_NETS = """
from torch import nn

class Falls(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 10)
    def forward(self, x):
        return -self.linear(x.flatten(1))

def falls(input_shape, num_classes):
    return Falls()

def no_linear(input_shape, num_classes):
    return nn.Sequential(nn.Conv2d(1, num_classes, 8), nn.Flatten())
"""


@pytest.mark.parametrize(
    ("algorithm", "net", "told"),
    [
        ("hide-n-seek", "falls", "hide-n-seek.pruner: got 'synflow', but SynFlow: "),
        ("fed-pub", "no_linear", "model: the logits of Sequential are not those of a torch.nn.Linear"),
    ],
)
def test_a_strategy_that_cannot_begin_is_one_sentence(
    algorithm: str, net: str, told: str, capfd: pytest.CaptureFixture[str]
):
    Path("nets_that_fail.py").write_text(OWN_NETS)
    asked = ("--algorithm", algorithm, "--dataset", "digits", "-s", f"model=nets_that_fail:{net}", "--num-clients", 2)
    assert fedsieve("run", *asked, "--quiet", "--out", "run") == 2
    assert capfd.readouterr().err.startswith(f"fedsieve: {told}")
    assert summary_of(Path("run"))["num_rounds"] == 0


def test_a_folder_of_the_users_hides_no_package(tmp_path: Path):
    Path("datasets").mkdir()
    Path("datasets/__init__.py").write_text("")
    Path("nets_beside.py").write_text("from torch import nn\ndef make(s, c): "
                                      "return nn.Sequential(nn.Flatten(), nn.Linear(64, c))\n")  # fmt: skip
    command = [sys.executable, "-P", "-m", "fedsieve", "run", "--dataset", "digits", "--quiet", "--num-rounds", "1"]
    subprocess.run([*command, "-s", "model=nets_beside:make", "--out", "run"], check=True, timeout=100)
