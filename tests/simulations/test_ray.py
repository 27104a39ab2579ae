import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

from fedsieve.client.app.holdings import deal_simulated, load_own
from fedsieve.client.app.parts import write_parts
from fedsieve.errors import RunFailedError
from fedsieve.runs.checkpoint_folder import CheckpointFolder
from fedsieve.runs.layout import state_file
from fedsieve.simulations import ray as engine
from fedsieve.simulations.grid import FIRST_NODE_ID
from fedsieve.simulations.ray import RayGrid
from fedsieve.simulations.ray_cluster import cluster, gpu_share
from fedsieve.simulations.ray_states import ReferredStates
from tests.helpers import assert_same_run, config, fedsieve, rounds_of, simulated, summary_of, write_graph
from tests.runs.test_history import a_round, answered
from tests.simulations import ray_workers
from tests.simulations.cases import CASES
from tests.simulations.test_inline import Recorder, results

pytestmark = pytest.mark.xdist_group("ray")

CPUS = 3
RUN = {"num-clients": 5, "num-rounds": 3, "hidden-dim": 8, "fraction-train": 0.8}


@pytest.fixture(scope="module", autouse=True)
def running() -> Iterator[None]:
    """One Ray for all tests of this module: the engine uses what is there."""
    with cluster("", CPUS):
        yield


@pytest.fixture
def keys(graph_file: Path) -> dict[str, Any]:
    return RUN | {"dataset": str(graph_file)}


def use(monkeypatch: pytest.MonkeyPatch, worker: type) -> None:
    monkeypatch.setattr(engine, "Worker", worker)


@pytest.mark.parametrize("real", [False, True])
def test_a_federation_of_three_files_gives_the_inline_engines_run(
    real: bool, request: pytest.FixtureRequest, tmp_path: Path
):
    sites = tmp_path / "sites"
    if real:
        request.getfixturevalue("real_data")
        write_parts(config(dataset="cora", num_clients=3, partition="louvain"), sites)
    else:
        sites.mkdir()
        for number, name in enumerate(("north", "south", "west")):
            write_graph(sites / f"{name}.npz", per_class=8, seed=number)
    keys = {"dataset": str(sites), "partition": "given", "num-rounds": 2, "hidden-dim": 4}
    expected = simulated(tmp_path / "inline", keys)
    made = simulated(tmp_path / "ray", keys, engine="ray", num_workers=2)
    assert_same_run(made, expected)
    files = sorted(sites.iterdir())
    assert list(summary_of(made)["client_names"].values()) == [file.stem for file in files]
    on_devices = [load_own(str(file), config(keys)).counts for file in files]
    assert on_devices == [held.counts for held in deal_simulated(config(keys))]


@pytest.mark.parametrize("algorithm", CASES)
def test_any_number_of_workers_gives_the_inline_engines_run(algorithm: str, tmp_path: Path):
    case = CASES[algorithm] | {"algorithm": algorithm}
    expected = simulated(tmp_path / "inline", case)
    for num_workers in (1, 3):
        run = simulated(tmp_path / f"ray-{num_workers}", case, engine="ray", num_workers=num_workers)
        assert_same_run(run, expected)
        assert summary_of(run)["engine"] == "ray"


def test_a_worker_killed_in_mid_round_changes_no_number(
    keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    expected = simulated(tmp_path / "inline", keys)
    use(monkeypatch, ray_workers.Doomed)
    run = simulated(tmp_path / "ray", keys, engine="ray", num_workers=2)
    (killed,) = (tmp_path / "ray.deaths").read_text().splitlines()
    assert not psutil.pid_exists(int(killed))
    assert_same_run(run, expected)
    assert summary_of(run)["rejected_replies"] == 0
    assert capfd.readouterr() == ("", "")


def test_a_client_that_keeps_killing_its_worker_is_left_out_and_the_run_goes_on(
    keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine, "ATTEMPTS", 2)
    use(monkeypatch, ray_workers.DoomedTwice)
    run = simulated(tmp_path / "ray", keys, engine="ray", num_workers=1, fraction_train=1.0)
    told = [line["rejected"] for line in rounds_of(run)]
    assert [list(rejected) for rejected in told] == [[], ["2"], []]
    assert "its worker died 2 times over it" in told[1]["2"]
    assert len((tmp_path / "ray.deaths").read_text().splitlines()) == 2


def test_a_client_that_raises_is_rejected_in_the_inline_engines_words(
    keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    Recorder(monkeypatch, fails=1, first_round=2)
    expected = results(simulated(tmp_path / "inline", keys))
    use(monkeypatch, ray_workers.Raising)
    run = simulated(tmp_path / "ray", keys, engine="ray", num_workers=2)
    assert results(run) == expected
    assert any("ArithmeticError: boom boom" in told for line in rounds_of(run) for told in line["rejected"].values())


def test_workers_are_where_the_user_is_and_a_folder_there_hides_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("")
    (tmp_path / "nets_of_ray.py").write_text(
        "from torch import nn\ndef make(s, c): return nn.Sequential(nn.Flatten(), nn.Linear(64, c))\n"
    )
    case = {"dataset": "digits", "num-clients": 2, "num-rounds": 1, "model": "nets_of_ray:make"}
    assert_same_run(simulated(Path("ray"), case, engine="ray", num_workers=1), simulated(Path("inline"), case))


def test_a_runs_processes_are_all_counted(keys: dict[str, Any], tmp_path: Path):
    summary = summary_of(simulated(tmp_path / "ray", keys, engine="ray", num_workers=2))
    this = psutil.Process().memory_full_info().pss / 2**20
    assert summary["engine"] == "ray"
    assert summary["peak_rss_mb"] > this + 200, "two workers that have imported torch take more"


def test_more_workers_than_cpus_are_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    flags = ("--engine", "ray", "--num-workers", 4, "--quiet", "--out", tmp_path / "run")
    assert fedsieve("run", *flags) == 2
    told = f"fedsieve: num-workers: got 4, allowed: at most the {CPUS} CPUs of the Ray cluster.\n"
    assert capfd.readouterr() == ("", told)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    assert fedsieve("run", "--engine", "ray", "--device", "cuda", "--quiet", "--out", tmp_path / "run") == 2
    told = "fedsieve: device: got 'cuda', but Ray finds no GPU in its cluster; allowed: auto or cpu.\n"
    assert capfd.readouterr() == ("", told)


@pytest.mark.parametrize(
    ("device", "gpus", "workers", "share"),
    [("auto", 0, 3, 0.0), ("cpu", 2, 3, 0.0), ("auto", 1, 1, 1.0), ("cuda", 1, 3, 0.3333), ("auto", 4, 6, 0.5),
     ("cuda", 4, 2, 1.0)],
)  # fmt: skip
def test_workers_share_gpus_evenly(device: str, gpus: int, workers: int, share: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0} | ({"GPU": float(gpus)} if gpus else {}))
    assert gpu_share(device, workers) == share


def test_a_worker_that_cannot_start_is_one_sentence(
    keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Broken:
        def __init__(self, *_: object) -> None:
            raise RuntimeError("no luck")

        def where(self) -> None: ...

    use(monkeypatch, Broken)
    with pytest.raises(RunFailedError, match=r"^a Ray worker cannot start: [^\n]*no luck"):
        simulated(tmp_path / "run", keys, engine="ray", num_workers=1)


@pytest.fixture(scope="module")
def echoing() -> Iterator[list[Any]]:
    """Two workers that answer what they are sent."""
    with pytest.MonkeyPatch.context() as patch:
        use(patch, ray_workers.Echoing)
        workers = engine._start_workers(config(num_clients=4), 2)
    yield workers
    for worker in workers:
        ray.kill(worker)


@pytest.fixture
def states(tmp_path: Path) -> ReferredStates:
    return ReferredStates(CheckpointFolder(tmp_path / "checkpoint"))


@pytest.fixture
def grid(echoing: list[Any], states: ReferredStates) -> RayGrid:
    """Four clients without a state on two workers."""
    return RayGrid(echoing, 4, states)


def to(client: int, arrays: ArrayRecord, word: str = "hello", continues: int = 0) -> Message:
    content = RecordDict({"arrays": arrays, "config": ConfigRecord({"word": word, "continues": continues})})
    return Message(content, FIRST_NODE_ID + client, "train")


def facts(reply: Message) -> dict[str, Any]:
    return dict(reply.content["facts"])


def test_clients_are_pinned_and_arrays_states_and_contexts_come_back(grid: RayGrid):
    records = [ArrayRecord([np.arange(3 + k, dtype=np.float32), np.array(k)]) for k in range(4)]
    by_client: dict[int, list[dict[str, Any]]] = {client: [] for client in range(4)}
    for count in range(2):
        asked = [to(client, records[client], continues=count) for client in (2, 0, 3, 1)]
        for reply in grid.send_and_receive(asked):
            client = facts(reply)["client"]
            by_client[client].append(facts(reply))
            assert reply.metadata.src_node_id == FIRST_NODE_ID + client
            for sent, back in zip(records[client].values(), reply.content["arrays"].values(), strict=True):
                assert (sent.dtype, sent.shape, sent.stype, sent.data) == (
                    back.dtype,
                    back.shape,
                    back.stype,
                    back.data,
                )
    for told in by_client.values():
        assert [fact["seen"] for fact in told] == [0, 1]
        assert told[1]["calls"] == told[0]["calls"] + 1
    homes = {client: {fact["pid"] for fact in told} for client, told in by_client.items()}
    assert homes[0] == homes[2] != homes[1] == homes[3]
    assert all(len(pids) == 1 for pids in homes.values())


def test_workers_are_as_urgent_as_the_process_that_waits_for_them(grid: RayGrid):
    (told,) = map(facts, grid.send_and_receive([to(0, ArrayRecord())]))
    assert psutil.Process(told["pid"]).nice() == psutil.Process().nice()


def test_a_worker_that_is_gone_when_it_is_to_be_counted_ends_no_run():
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    engine._count((socket.gethostname(), gone.pid))


def test_an_exchange_is_one_call_a_worker_and_one_put_for_a_shared_record(
    grid: RayGrid, monkeypatch: pytest.MonkeyPatch
):
    puts: list[object] = []
    put, calls = ray.put, []
    ask = engine._Call._ask
    monkeypatch.setattr(engine.ray, "put", lambda value: (puts.append(value), put(value))[1])
    monkeypatch.setattr(engine._Call, "_ask", lambda call: (calls.append(list(call.asked)), ask(call))[1])
    shared = ArrayRecord([np.zeros(5)])
    assert len(list(grid.send_and_receive(to(client, shared) for client in range(4)))) == 4
    assert len(puts) == 1
    assert calls == [[0, 2], [1, 3]]
    list(grid.send_and_receive(to(client, ArrayRecord([np.zeros(5)])) for client in range(4)))
    assert len(puts) == 5


def test_two_messages_to_one_client_are_answered_one_after_the_other(grid: RayGrid):
    arrays = ArrayRecord()
    replies = list(grid.send_and_receive([to(1, arrays), to(0, arrays), to(1, arrays, continues=1)]))
    assert sorted((fact["client"], fact["seen"]) for fact in map(facts, replies)) == [(0, 0), (1, 0), (1, 1)]


def test_a_node_that_is_not_there_is_an_error(grid: RayGrid):
    absent, there = grid.send_and_receive([to(7, ArrayRecord()), to(0, ArrayRecord())])
    assert absent.has_error()
    assert absent.metadata.src_node_id == FIRST_NODE_ID + 7
    assert facts(there)["client"] == 0


def test_a_reply_that_does_not_come_in_time_is_absent_and_its_worker_starts_anew(grid: RayGrid):
    arrays = ArrayRecord()
    (before,) = map(facts, grid.send_and_receive([to(3, arrays)]))
    assert list(grid.send_and_receive([to(3, arrays, "hang", 1)], timeout=0.5)) == []
    (after,) = map(facts, grid.send_and_receive([to(3, arrays, continues=1)]))
    assert after["seen"] == before["seen"] + 1, "the state of the last answer"
    assert after["pid"] != before["pid"]


def test_an_interrupted_exchange_does_not_go_on_in_the_next(grid: RayGrid, states: ReferredStates):
    arrays = ArrayRecord()
    interrupted = grid.send_and_receive([to(client, arrays) for client in range(4)])
    first = facts(next(interrupted))["client"]
    asked = (to(client, arrays, continues=int(client == first)) for client in range(4))
    again = {fact["client"]: fact["seen"] for fact in map(facts, grid.send_and_receive(asked))}
    assert again == {client: int(client == first) for client in range(4)}
    assert [client for client in range(4) if states.reference(client, 2) is not None] == [first]


def test_of_two_states_that_stays_which_the_server_goes_on_from(grid: RayGrid, states: ReferredStates):
    arrays = ArrayRecord()
    assert len(list(grid.send_and_receive(to(client, arrays) for client in range(2)))) == 2
    states.round_finished(a_round(1, answered(0, 0, 0), answered(1, 0, 0)))
    again = grid.send_and_receive(to(client, arrays, continues=1) for client in range(2))
    assert [facts(reply)["seen"] for reply in again] == [1, 1]
    states.round_finished(a_round(2, answered(0, 0, 0), rejected={1: "array w holds NaN"}))
    there = [(client, at) for client in range(2) for at in (1, 2) if states.reference(client, at) is not None]
    assert there == [(0, 2), (1, 1)]


def test_a_state_that_ray_has_lost_is_taken_from_its_file_the_next_time(
    echoing: list[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    kept = CheckpointFolder(tmp_path / "checkpoint")
    states = ReferredStates(kept)
    grid = RayGrid(echoing, 4, states)
    assert len(list(grid.send_and_receive([to(0, ArrayRecord())]))) == 1
    kept.put(state_file(0, 1), states.packed(0, 1))
    ray.internal.free([states.reference(0, 1)])
    with pytest.raises(LookupError, match="Ray's object store has lost it"):
        states.packed(0, 1)()
    (failed,) = grid.send_and_receive([to(0, ArrayRecord(), continues=1)])
    assert "is lost" in failed.error.reason
    (found,) = grid.send_and_receive([to(0, ArrayRecord(), continues=1)])
    assert facts(found)["seen"] == 1
