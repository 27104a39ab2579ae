"""A deployment on this machine, with real processes: the inline engine's numbers, and faults that it survives."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

import psutil
import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.proto.control_pb2 import ListRunsRequest
from safetensors.numpy import load_file

from fedsieve import load_model
from fedsieve.client.app.client_app import make_client_app, partition_id
from fedsieve.client.app.state import DiskStore
from fedsieve.config import RunConfig
from fedsieve.deploy.control import connect
from fedsieve.deploy.keys import make_keys
from fedsieve.deploy.layout import Layout, read_deployment
from fedsieve.deploy.processes import Running, end, read_running
from fedsieve.deploy.submit import submit
from fedsieve.deploy.trial import State, down, states, up
from fedsieve.errors import UserError
from fedsieve.runs.reopen import lock_run
from fedsieve.server.app import make_server_app
from fedsieve.simulations import simulate
from fedsieve.simulations.flower_internals import SUPERLINK_NODE_ID
from fedsieve.simulations.grid import FIRST_NODE_ID, RUN_ID
from fedsieve.simulations.inline import InlineGrid
from tests.e2e.test_flwr_run import free_port
from tests.helpers import assert_same_run, config, fedsieve, rounds_of, summary_of, write_graph

pytestmark = pytest.mark.xdist_group("deployment")

ROOT = Path(__file__).parents[2]
LONG = 240.0
"""Seconds for what may take a minute on an idle machine."""


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The graph of each node."""
    folder = tmp_path_factory.mktemp("graphs")
    return [write_graph(folder / f"{name}.npz", per_class=20, seed=name) for name in range(3)]


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory, graphs: list[Path]) -> Iterator[Layout]:
    """A deployment of three nodes with data of their own, which leaves no process behind."""
    folder = tmp_path_factory.mktemp("deployment")
    here = Layout(folder / "trial")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("FEDSIEVE_CACHE", str(folder / "cache"))
        patch.setenv("FEDSIEVE_TEST", str(folder))
        up(here, 3, [str(path) for path in graphs], timeout=LONG)
        try:
            yield here
        finally:
            assert down(here) == 6
            assert left_of(folder) == []


def left_of(folder: Path) -> list[str]:
    """Return the command lines of processes that mention the folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            if process.pid != os.getpid() and any(str(folder) in word for word in words):
                found.append(" ".join(words))
    return found


def inline(run: RunConfig, graphs: list[Path], out: Path, answer: Callable[[ClientApp], ClientApp]) -> Path:
    """Run in this process what the deployment runs, each client with its node's data, and return the run's folder."""
    run = run.model_copy(update={"out": str(out)})
    app = make_client_app(lambda _: DiskStore(out.with_suffix(".states")))
    grid = InlineGrid(answer(app), len(graphs), run.flat())
    for client, path in enumerate(graphs):
        grid._contexts[FIRST_NODE_ID + client].node_config["data"] = str(path)
    server_app = make_server_app(engine="inline", export=False, quiet=True)
    server_app(grid, Context(RUN_ID, SUPERLINK_NODE_ID, {}, RecordDict(), run.flat()))
    return out


class Failing(ClientApp):
    """Fails for some (client, round) before it trains, and answers else."""

    def __init__(self, app: ClientApp, failures: set[tuple[int, int]]) -> None:
        super().__init__()
        self._app, self._failures = app, failures

    def __call__(self, message: Message, context: Context) -> Message:
        asked = message.content.config_records["config"].get("round", 0)
        if (partition_id(context), asked) in self._failures:
            raise RuntimeError("it is not there")
        return self._app(message, context)


def wait_for(arrived: Callable[[], object], what: str) -> None:
    until = time.monotonic() + LONG
    while not arrived():
        assert time.monotonic() < until, f"{what} has not come"
        time.sleep(0.2)


def running(layout: Layout, name: str) -> Running:
    return read_running(layout.processes)[name]


def state(layout: Layout, name: str) -> State:
    return next(each for each in states(layout) if each.name == name)


def all_online(layout: Layout) -> bool:
    return all(each.link.startswith(("online", "running")) for each in states(layout))


def submitted(layout: Layout, run: RunConfig, tmp_path: Path, client_app: str) -> "subprocess.Popen[bytes]":
    """Start a run in another process."""
    (tmp_path / "keys.toml").write_text(run.toml())
    code = (
        "import sys\nfrom pathlib import Path\nfrom fedsieve.config import parse, read\n"
        "from fedsieve.deploy.layout import Layout\nfrom fedsieve.deploy.submit import submit\n"
        "submit(Layout(Path(sys.argv[1])), parse(read(Path(sys.argv[2]))), client_app=sys.argv[3])"
    )
    words = [sys.executable, "-c", code, str(layout.folder), str(tmp_path / "keys.toml"), client_app]
    return subprocess.Popen(words, env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True)


@contextmanager
def started(command: list[Any], environment: dict[str, str], log: IO[bytes]) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a process that leads a group, and leave none of it."""
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        end({"": Running.of(process.pid)} if process.poll() is None else {})


def rejected(folder: Path) -> list[dict[str, str]]:
    return [line["rejected"] for line in rounds_of(folder)]


@pytest.mark.usefixtures("drawn")
def test_a_run_gives_the_inline_engines_numbers_on_data_that_stays_on_the_nodes(
    layout: Layout, graphs: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    keys = ["--algorithm", "fed-pub", "--num-rounds", 3, "-s", "hidden-dim=16", "--seed", 3]
    assert fedsieve("deploy", "run", layout.folder, *keys, "--tensorboard", "--out", tmp_path / "found") == 0
    told = capfd.readouterr()
    assert "fed-pub submits the run" in told.err
    assert "fed-pub INFO: 3 of 3 nodes have answered" in told.err
    assert "fed-pub round 3/3: val" in told.err
    assert "own data of 3 devices, given, 3 clients, 3 rounds" in " ".join(told.out.split())
    assert f"The run is in {tmp_path / 'found'}." in " ".join(told.out.split())
    run = config(algorithm="fed-pub", num_clients=3, num_rounds=3, hidden_dim=16, seed=3)
    expected = inline(run, graphs, tmp_path / "expected", lambda app: app)
    assert_same_run(tmp_path / "found", expected, folders=("checkpoint",))
    given = run.model_copy(update={"dataset": str(graphs[0].parent), "partition": "given"})
    simulated = simulate(given.model_copy(update={"out": str(tmp_path / "given")}), quiet=True)
    assert rounds_of(simulated) == rounds_of(tmp_path / "found"), "as from the same files on one machine"
    assert summary_of(tmp_path / "found")["engine"] == "deployment"
    name = "similarity.safetensors"
    assert (tmp_path / "found" / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()
    page = (tmp_path / "found" / "report.html").read_text()
    assert "a deployment leaves models and masks on the devices" in page
    assert "own data of 3 devices" in page
    assert not (tmp_path / "found" / "model").exists(), "personal models stay on their devices"
    for index in range(3):
        assert len(list(layout.node(index).glob(f"state/run-*/client-{index}/*.safetensors"))) == 3
        newest = max(layout.node(index).glob("state/run-*"), key=lambda path: path.stat().st_mtime)
        assert load_model(newest, index).lin.out_features == 3, "and can be used there"
    assert len(list((tmp_path / "found" / "tensorboard").iterdir())) == 1


def test_a_users_mistake_is_one_sentence_and_starts_nothing(layout: Layout, tmp_path: Path):
    out = str(tmp_path / "run")
    with pytest.raises(UserError, match=r"^num-clients: got 4, allowed: at most the number of nodes online, 3\.$"):
        submit(layout, config(num_clients=4, out=out))
    with pytest.raises(UserError, match=r"is up already, allowed: fedsieve deploy down"):
        up(layout, 3)
    assert not (tmp_path / "run").exists()
    assert state(layout, "superlink").starts == 1


@pytest.mark.parametrize(
    ("algorithm", "reasons"),
    [
        (
            "fed-avg",
            [
                {"1": "holds NaN or infinite values", "2": "float32 (16, 3) where float32 (3, 16) is expected"},
                {"1": "array keys differ from those expected: surprise", "2": "no data today"},
                {"1": "more than 10 times", "2": "no data today"},
            ],
        ),
        (
            "hide-n-seek",
            [
                {"1": "is float32 (9,) where uint8 (9,) is expected", "2": "where at most (14,) is expected"},
                {"1": "", "2": "metric num-examples is -1000, not a count"},
            ],
        ),
    ],
)
def test_bad_replies_are_named_and_never_averaged(
    algorithm: str, reasons: list[dict[str, str]], layout: Layout, graphs: list[Path], tmp_path: Path
):
    last = len(reasons)
    run = config(algorithm=algorithm, num_clients=3, num_rounds=last, hidden_dim=16, local_epochs=2)
    found = submit(
        layout, run.model_copy(update={"out": str(tmp_path / "found")}), client_app="tests.e2e.clients:hostile"
    )
    told = rejected(found)
    assert [sorted(line) for line in told] == last * [["1", "2"]]
    for line, reason in zip(told, reasons, strict=True):
        assert all(reason[client] in line[client] for client in line), line
    failures = {(client, round_) for client in (1, 2) for round_ in range(1, last + 1)}
    alone = inline(run, graphs, tmp_path / "alone", lambda app: Failing(app, failures))
    server = f"checkpoint/server-{last}.safetensors"
    mine, expected = load_file(found / server), load_file(alone / server)
    assert mine.keys() == expected.keys()
    assert all(mine[name].tobytes() == expected[name].tobytes() for name in mine)
    assert summary_of(found)["rejected_replies"] == 2 * last


@pytest.mark.slow
def test_a_round_waits_no_longer_than_its_timeout(layout: Layout, graphs: list[Path], tmp_path: Path):
    run = config(algorithm="fed-pub", num_clients=3, num_rounds=2, hidden_dim=16, round_timeout=60.0)
    out = str(tmp_path / "found")
    found = submit(layout, run.model_copy(update={"out": out}), client_app="tests.e2e.clients:late")
    assert rejected(found) == [{"2": "no reply in time"}, {}]
    expected = inline(run, graphs, tmp_path / "expected", lambda app: Failing(app, {(2, 1)}))
    untold = [[{key: line[key] for key in line if key != "rejected"} for line in rounds_of(folder)]
              for folder in (found, expected)]  # fmt: skip
    assert untold[0] == untold[1]


def test_a_node_that_claims_anothers_id_is_left_out_and_named(layout: Layout, tmp_path: Path):
    run = config(algorithm="fed-avg", num_clients=3, num_rounds=1, out=str(tmp_path / "run"))
    lines: list[str] = []
    found = submit(layout, run, client_app="tests.e2e.clients:forging", show=lines.append)
    assert [line["participants"] for line in rounds_of(found)] == [[1]]
    assert any("are rejected: all claim partition-id 0" in line for line in lines), lines


def test_a_node_with_an_unknown_key_is_refused(layout: Layout, tmp_path: Path):
    make_keys(tmp_path / "other", 1)
    fleet = read_deployment(layout).fleet_port
    command = [sys.executable, "-m", "fedsieve.deploy.supernode", "--grpc-rere", "--superlink", f"127.0.0.1:{fleet}"]
    command += [
        "--root-certificates",
        layout.keys / "ca.crt",
        "--auth-supernode-private-key",
        tmp_path / "other/node-0",
    ]
    command += ["--port", str(free_port()), "--node-config", "partition-id=0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with (tmp_path / "log").open("wb") as log, started(command, environment, log) as refused:
        assert refused.wait(LONG) != 0
    assert "Failed to activate SuperNode" in (tmp_path / "log").read_text()
    assert len([each for each in states(layout) if each.link.startswith("online")]) == 3


def test_a_killed_and_a_hanging_node_come_back_as_who_they_were(layout: Layout, graphs: list[Path], tmp_path: Path):
    folder = layout.folder.parent
    run = config(algorithm="fed-pub", num_clients=3, num_rounds=5, hidden_dim=16, out=str(tmp_path / "found"))
    before = json.loads(layout.registered.read_text())
    starts = running(layout, "node-1").starts
    with submitted(layout, run, tmp_path, "tests.e2e.clients:held") as running_run:
        try:
            wait_for(lambda: all((folder / f"held-{client}").exists() for client in (1, 2)), "round 2")
            os.kill(running(layout, "node-1").pid, signal.SIGKILL)
            os.killpg(running(layout, "node-2").pid, signal.SIGSTOP)
            wait_for((folder / "held-0").exists, "round 3, which does not wait for the lost")
            os.killpg(running(layout, "node-2").pid, signal.SIGCONT)
            wait_for(lambda: all_online(layout), "both")
        finally:
            os.killpg(running(layout, "node-2").pid, signal.SIGCONT)
            (folder / "go").touch()
        assert running_run.wait(LONG) == 0
    assert json.loads(layout.registered.read_text()) == before
    assert running(layout, "node-1").starts > starts
    told = rejected(tmp_path / "found")
    assert told[0] == {}
    assert set(told[1]) == {"1", "2"}
    assert told[1]["1"] == "killed or cut off"
    assert told[4] == {}
    failures = {(int(client), round_) for round_, line in enumerate(told, 1) for client in line}
    expected = inline(run, graphs, tmp_path / "expected", lambda app: Failing(app, failures))
    untold = [{key: line[key] for key in line if key != "rejected"} for line in rounds_of(tmp_path / "found")]
    assert untold == [{key: line[key] for key in line if key != "rejected"} for line in rounds_of(expected)]


def test_a_superlink_killed_in_mid_run_loses_nothing(layout: Layout, graphs: list[Path], tmp_path: Path):
    run = config(algorithm="fed-pub", num_clients=3, num_rounds=4, hidden_dim=16, out=str(tmp_path / "found"))
    lines = tmp_path / "found" / "rounds.jsonl"
    with submitted(layout, run, tmp_path, "fedsieve.client.app.client_app:app") as running_run:
        wait_for(lambda: lines.exists() and lines.read_text().count("\n") >= 1, "the first round")
        os.kill(running(layout, "superlink").pid, signal.SIGKILL)
        assert running_run.wait(LONG) == 0
    assert running(layout, "superlink").starts == 2
    expected = inline(run, graphs, tmp_path / "expected", lambda app: app)
    assert_same_run(tmp_path / "found", expected, folders=("checkpoint",))
    wait_for(lambda: all_online(layout), "all nodes")


@pytest.mark.slow
def test_a_run_killed_twice_is_resumed_and_ends_with_the_same_bytes(layout: Layout, graphs: list[Path], tmp_path: Path):
    found = tmp_path / "found"
    run = config(algorithm="fed-pub", num_clients=3, num_rounds=5, hidden_dim=16, out=str(found))
    resume = ["resume", found, "--deployment", layout.folder]
    begin = partial(submitted, layout, run, tmp_path, "fedsieve.client.app.client_app:app")
    again = partial(subprocess.Popen, [sys.executable, "-m", "fedsieve", *resume], start_new_session=True)
    for number, start in ((1, begin), (3, again)):
        with start() as asked:
            wait_for((found / f"checkpoint/manifest-{number}.json").exists, f"the checkpoint of round {number}")
            wait_for(lambda: has_been_killed(layout, found), "the end of the ServerApp")
            os.killpg(asked.pid, signal.SIGKILL)
    assert fedsieve(*resume, "--quiet") == 0
    expected = inline(run, graphs, tmp_path / "expected", lambda app: app)
    assert_same_run(found, expected, folders=("checkpoint",))
    assert fedsieve(*resume) == 0


def server_apps(layout: Layout) -> list[psutil.Process]:
    """Return the processes in which the deployment's ServerApps run."""
    found = psutil.Process(running(layout, "superexec").pid).children(recursive=True)
    alive = [process for process in found if process.status() != psutil.STATUS_ZOMBIE]
    return [process for process in alive if "flwr-serverapp" in " ".join(process.cmdline())]


def has_been_killed(layout: Layout, folder: Path) -> bool:
    """Kill the ServerApps that are there, and return whether no process has the run any more."""
    for process in server_apps(layout):
        process.kill()
    with suppress(UserError), lock_run(folder):
        return True
    return False


def test_ctrl_c_stops_the_run_on_the_deployment_too(layout: Layout, tmp_path: Path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "fedsieve", "deploy", "run", layout.folder, "--algorithm", "local", "--out", out]
    with (tmp_path / "log").open("wb") as log, started(command, os.environ | {"PYTHONPATH": str(ROOT)}, log) as asked:
        wait_for((out / "rounds.jsonl").exists, "the first round")
        os.killpg(asked.pid, signal.SIGINT)  # as a terminal does, to all of them
        assert asked.wait(LONG) == 130
    assert f"the run was stopped; what it has reached is in {out}" in " ".join((tmp_path / "log").read_text().split())
    with connect(layout, "list the runs") as superlink:
        runs = superlink.ListRuns(ListRunsRequest()).run_dict
    assert runs[max(runs, key=lambda run_id: runs[run_id].pending_at)].status.sub_status == "stopped"
    wait_for((out / "summary.json").exists, "the summary of what was reached")
