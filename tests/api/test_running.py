import logging
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.data import Data

import fedsieve
from fedsieve import RunFailedError, UserError, objects
from tests.helpers import assert_same_run, simulated, write_graph

SMALL: dict[str, Any] = {"num_clients": 3, "num_rounds": 3, "hidden_dim": 4, "quiet": True}
IMAGES: dict[str, Any] = {"num_clients": 2, "num_rounds": 2, "examples_per_client": 20, "quiet": True}


class Net(nn.Module):
    def __init__(self, input_shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(images)
        return logits


def make(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    return Net(input_shape, num_classes)


def test_a_run_from_python_is_that_of_the_command_line(graph_file: Path, tmp_path: Path):
    run = fedsieve.run("fed-pub", graph_file, out=tmp_path / "run", settings={"tau": 5, "prox_power": 2.0}, **SMALL)
    keys = {"num-clients": 3, "num-rounds": 3, "hidden-dim": 4, "fed-pub.tau": 5.0, "fed-pub.prox-power": 2.0}
    assert_same_run(run.folder, simulated(tmp_path / "other", keys, dataset=str(graph_file)))
    assert run.ended == "finished"


@pytest.mark.parametrize(
    "keys",
    [
        {"settings": {"tau": 5}},
        {"fed-pub.tau": 5},
        {"fed-pub": {"tau": 5}},
        {"fed_pub": {"tau": 5}},
        {"fed-pub.tau": np.float64(5)},
    ],
)
def test_an_algorithms_own_keys_are_given_in_any_way(keys: dict[str, Any], graph_file: Path, tmp_path: Path):
    run = fedsieve.run("fed-pub", graph_file, out=tmp_path / "run", **(SMALL | {"num_rounds": 0}), **keys)
    assert run.config["fed-pub.tau"] == 5.0


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"num_client": 3}, r"^num-client: is not a key \(did you mean num-clients\?\)"),
        ({"num_clients": 3, "num-clients": 4}, r"^num-clients: is given twice, 3 and 4, allowed: once\.$"),
        ({"settings": {"tau": 3}, "fed-pub.tau": 4}, r"^fed-pub\.tau: is given twice"),
        ({"settings": {"taus": 3}}, r"^fed-pub\.taus: is not a key \(did you mean fed-pub\.tau\?\)"),
        ({"tau": 3}, r"^tau: is not a key \(did you mean fed-pub\.tau\?\)"),
        ({"model": Net((64,), 10)}, r"^model: got a Net, allowed: a name, or the class or function .*, uncalled\.$"),
        ({"model": 3}, r"^model: got 3, allowed: a name, or the class"),
        ({"dataset": 3}, r"^dataset: got a int, allowed: a name, a path, a torch_geometric\.data\.Data"),
        ({"dataset": []}, r"^dataset: got a list, allowed: a name"),
        ({"algorithm": Net}, r"^algorithm: <class .*Net'> is no algorithm, allowed: a subclass of .*FederatedStrategy"),
        ({"algorithm": 3}, r"^algorithm: 3 is no algorithm"),
        ({"on_round": 3}, r"^on_round: got 3, allowed: a function of one round, or a list of them\.$"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(keys: dict[str, Any], sentence: str, tmp_path: Path):
    with pytest.raises(UserError, match=sentence):
        fedsieve.run(out=tmp_path / "run", **keys)
    assert not (tmp_path / "run").exists()


def test_none_leaves_a_key_open(graph_file: Path, tmp_path: Path):
    run = fedsieve.run(None, graph_file, None, out=tmp_path / "run", lr=None, **(SMALL | {"num_rounds": 0}))
    assert run.config["lr"] == 0.01


@pytest.mark.parametrize("model", [Net, make])
def test_a_class_or_function_of_a_module_is_named_by_its_path(model: Any, tmp_path: Path):
    run = fedsieve.run("fed-avg", "digits", model, out=tmp_path / "run", **IMAGES)
    assert run.config["model"] == f"tests.api.test_running:{model.__name__}"
    assert isinstance(run.model(), Net)


def test_objects_without_a_name_work_in_their_process_and_the_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def local(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        return Net(input_shape, num_classes)

    run = fedsieve.run("fed-avg", "digits", local, out=tmp_path / "run", on_round=lambda _: True, **IMAGES)
    other = fedsieve.run(
        "fed-avg",
        "digits",
        lambda _, classes: nn.Sequential(nn.Flatten(), nn.Linear(64, classes)),
        out=tmp_path / "other",
        **IMAGES,
    )
    assert (run.ended, len(run.rounds)) == ("stopped", 1)
    assert len(run.resume(quiet=True).rounds) == 2
    assert run.clients["train_loss"].equals(other.clients["train_loss"])
    config = (run.folder / "config.toml").read_text()
    assert config.startswith("# model was an object of a Python session, which alone can resume this run.\n")
    monkeypatch.setattr(objects, "_NAMED", {})  # as another process has it
    (run.folder / "config.toml").write_text(config.replace("num-rounds = 2", "num-rounds = 3"))
    sentence = (
        r"^model: got '<python>:local', but it cannot be imported: it was an object of the Python session that began "
        r"the run, which alone can resume it\.$"
    )
    with pytest.raises(UserError, match=sentence):
        run.resume(quiet=True)
    with pytest.raises(UserError, match=sentence):
        run.model()


@pytest.mark.parametrize("engine", ["ray", "flower"])
def test_what_cannot_cross_processes_is_refused_before_anything_starts(engine: str, tmp_path: Path):
    with pytest.raises(UserError, match=rf"^model: got lambda, which other processes cannot import, .* '{engine}'"):
        fedsieve.run(
            "fed-avg",
            "digits",
            lambda _, classes: nn.Sequential(nn.Flatten(), nn.Linear(64, classes)),
            engine=engine,
            out=tmp_path / "run",
            **IMAGES,
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("answer", [True, np.True_])
def test_a_callback_stops_the_run_by_true_alone(answer: Any, graph_file: Path, tmp_path: Path):
    seen: list[dict[str, Any]] = []

    def look(line: dict[str, Any]) -> Any:
        seen.append(line)
        return answer if line["round"] == 2 else "on"

    run = fedsieve.run("fed-avg", graph_file, out=tmp_path / "run", on_round=[look, lambda _: 1], **SMALL)
    assert [line["round"] for line in seen] == [1, 2]
    assert run.ended == "stopped"
    assert seen == [{key: line[key] for key in seen[0]} for line in run.rounds.to_dict("records")]
    whole = fedsieve.run("fed-avg", graph_file, out=tmp_path / "whole", **SMALL)
    assert_same_run(run.resume(quiet=True, on_round=look).folder, whole.folder)
    assert seen[-1]["round"] == 3


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_of_a_callback_ends_the_run_and_reaches_the_caller(
    error: type[BaseException], graph_file: Path, tmp_path: Path
):
    def fail(_: object) -> None:
        raise error

    threads = torch.get_num_threads()
    with pytest.raises(error) as caught:
        fedsieve.run("fed-avg", graph_file, out=tmp_path / "run", on_round=fail, **SMALL)
    assert torch.get_num_threads() == threads
    run = fedsieve.open(tmp_path / "run")
    assert run.ended == ("interrupted" if error is KeyboardInterrupt else "failed: ")
    if error is KeyboardInterrupt:
        assert caught.value.__notes__[0].endswith(f"fedsieve.open({str(run.folder)!r}).resume() resumes it.")
    assert len(run.resume(quiet=True).rounds) == 3


WATCHED = """
import logging, os, random, signal, sys, threading, warnings
import numpy, torch
def state():
    logs = {name: (list(logging.getLogger(name).handlers), logging.getLogger(name).level) for name in
            ("", "fedsieve", "ray")}
    return {
        "threads": torch.get_num_threads(), "cwd": os.getcwd(), "path": list(sys.path), "env": dict(os.environ),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)],
        "logs": logs, "random": random.getstate(), "numpy": numpy.random.get_state()[1].tolist(),
        "torch": torch.get_rng_state().tolist(), "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "dtype": torch.get_default_dtype(), "grad": torch.is_grad_enabled(),
        "errors": numpy.geterr(), "alive": threading.active_count(),
    }
torch.set_num_threads(2)
torch.manual_seed(5)
numpy.random.seed(5)
before = state()
import fedsieve
KEYS = dict(num_clients=2, num_rounds=1, examples_per_client=20, quiet=True)
"""


def run_script(script: str, folder: Path, *, name: str = "script.py") -> str:
    (folder / name).write_text(textwrap.dedent(script))
    done = subprocess.run([sys.executable, name], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_runs_leave_the_process_as_it_was_twice_within_an_event_loop_and_failing(tmp_path: Path):
    script = """
    import asyncio
    from torch import nn
    class Net(nn.Module):
        def __init__(self, shape, classes):
            super().__init__()
            self.inner = nn.Linear(64, classes)
        def forward(self, x):
            return self.inner(x.flatten(1))
    async def main():
        first = fedsieve.run("fed-avg", "digits", Net, **KEYS)
        second = await asyncio.to_thread(fedsieve.run, "fed-avg", "digits", Net, **KEYS)
        print(first.summary["test_accuracy"] == second.summary["test_accuracy"], first.config["model"])
    before.pop("alive"), asyncio.run(main())
    try:
        fedsieve.run("fed-avg", "digits", lr=1e30, **KEYS)
    except fedsieve.RunFailedError as error:
        print("usable reply" in str(error))
    after = state()
    print([name for name in before if before[name] != after[name]])
    """
    assert run_script(WATCHED + textwrap.dedent(script), tmp_path) == "True <python>:Net\nTrue\n[]\n"


@pytest.mark.xdist_group("ray")
def test_a_network_beside_the_script_runs_under_ray_and_the_process_is_left_as_it_was(tmp_path: Path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "beside.py").write_text(
        "from torch import nn\n"
        "def make(shape, classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))\n"
    )
    script = """
    import beside
    print(fedsieve.run("fed-avg", "digits", beside.make, engine="ray", num_workers=1, **KEYS).ended)
    after = state()
    print([name for name in before if before[name] != after[name]])
    """
    assert run_script(WATCHED + textwrap.dedent(script), tmp_path, name="code/main.py") == "finished\n[]\n"


def test_importing_the_package_is_light():
    script = "import sys, fedsieve; print({'torch', 'pandas', 'flwr'} & set(sys.modules), sorted(fedsieve.__all__))"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert told.startswith("set() ['Run'")
    assert all(getattr(fedsieve, name) is not None for name in fedsieve.__all__)
    assert set(fedsieve.__all__) <= set(dir(fedsieve))


def test_a_failed_run_is_an_error_and_can_be_opened(graph_file: Path, tmp_path: Path):
    with pytest.raises(RunFailedError, match="usable reply"):
        fedsieve.run("fed-avg", graph_file, out=tmp_path / "run", lr=1e30, **SMALL)
    assert fedsieve.open(tmp_path / "run").ended.startswith("failed: ")


def test_the_callers_log_keeps_its_handlers(graph_file: Path, tmp_path: Path):
    log, handler = logging.getLogger("fedsieve"), logging.NullHandler()
    log.handlers = [handler]
    fedsieve.run("fed-avg", graph_file, out=tmp_path / "run", **(SMALL | {"num_rounds": 0}))
    assert log.handlers == [handler]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_list_of_graphs_with_words_is_a_run_of_as_many_clients_each_time_as_it_is(tmp_path: Path):
    ring = torch.arange(12)
    edges = torch.stack([ring, (ring + 1) % 12])

    def site(word: str) -> Data:
        return Data(
            x=torch.eye(12).to_sparse(), edge_index=edges, y=["cat", word] * 6, class_names=["cat", "dog", "emu"]
        )

    keys = {"num_rounds": 1, "hidden_dim": 4, "num_clients": 2}
    runs = [fedsieve.run("fed-avg", [site("dog"), site(word)], out=tmp_path / word, **keys) for word in ("dog", "emu")]
    counts = [run.summary["label_counts"] for run in runs]
    assert counts == [{"0": [6, 6, 0], "1": [6, 6, 0]}, {"0": [6, 6, 0], "1": [6, 0, 6]}]


def test_data_that_have_changed_under_their_name_are_read_again(tmp_path: Path):
    path = tmp_path / "graph.npz"
    sizes = []
    for per_class in (10, 20):
        write_graph(path, per_class=per_class)
        files = fedsieve.partition(path, tmp_path / f"parts-{per_class}", num_clients=2, partition="random")
        sizes.append(sum(len(np.load(file)["y"]) for file in files))
    assert sizes == [30, 60]
