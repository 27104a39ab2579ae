import pickle
import queue
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import ray
from flwr.app import Context, Message, RecordDict

from fedsieve.client.app.client_app import make_client_app
from fedsieve.client.app.state import DiskStore
from fedsieve.errors import RunFailedError
from fedsieve.simulations.flower import ProcessApp, _fail_if_ended, _take_grid
from fedsieve.simulations.inline import InlineGrid
from tests.helpers import assert_same_run, config, simulated, summary_of
from tests.messages import asking
from tests.simulations.cases import CASES

pytestmark = pytest.mark.xdist_group("ray")


@pytest.mark.parametrize("algorithm", CASES)
def test_flowers_runtime_gives_the_inline_engines_run(
    algorithm: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    case = CASES[algorithm] | {"algorithm": algorithm}
    expected = simulated(tmp_path / "inline", case)
    found = simulated(tmp_path / "flower", case, engine="flower", num_workers=2)
    assert_same_run(found, expected, folders=("model",))
    assert not (found / "checkpoint").exists()
    assert summary_of(found)["engine"] == "flower"
    assert not ray.is_initialized()
    assert capfd.readouterr() == ("", "")


def test_the_app_is_sent_as_what_it_is_made_of_and_made_once_a_process(graph_file: Path, tmp_path: Path):
    run = config(dataset=str(graph_file), num_clients=2)
    app = ProcessApp(run.flat(), str(tmp_path / "states"), str(tmp_path))
    sent = pickle.loads(pickle.dumps(app))
    context = Context(9, 5, {"partition-id": 1, "num-partitions": 2}, RecordDict(), {})
    reply = sent(asking(5, "query"), context)
    assert reply.content["client"]["partition-id"] == 1


def test_what_a_client_raises_is_told_as_by_the_inline_engine(
    graph_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    run = config(dataset=str(graph_file), num_clients=1)
    grid = InlineGrid(make_client_app(lambda _: DiskStore(tmp_path / "states")), 1, run.flat())
    message = Message(RecordDict(), 2, "train")  # without a config, which raises
    (expected,) = grid.send_and_receive([message])
    app = ProcessApp(run.flat(), str(tmp_path / "states"), str(tmp_path))
    found = app(message, Context(9, 2, {"partition-id": 0, "num-partitions": 1}, RecordDict(), {}))
    assert (found.error.code, found.error.reason) == (expected.error.code, expected.error.reason)


def test_a_runtime_that_has_ended_is_one_sentence():
    runtime: Future[None] = Future()
    _fail_if_ended(runtime)
    runtime.set_exception(RuntimeError("Simulation Runtime\ncrashed."))
    told = r"^Flower's simulation runtime has ended: Simulation Runtime crashed.$"
    with pytest.raises(RunFailedError, match=told):
        _fail_if_ended(runtime)
    with pytest.raises(RunFailedError, match=told):
        _take_grid(queue.SimpleQueue(), runtime, timeout=60)


def test_a_runtime_that_does_not_start_is_one_sentence_and_one_that_does_hands_over_its_grid():
    grids: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with pytest.raises(RunFailedError, match=r"^Flower's simulation runtime has not started in 0.2 seconds.$"):
        _take_grid(grids, Future(), timeout=0.2)
    grids.put(grid := object())
    assert _take_grid(grids, Future(), timeout=60) is grid
