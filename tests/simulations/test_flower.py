import pickle
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import ray
from flwr.app import Context, Message, RecordDict

from fedsieve.client.app import make_client_app
from fedsieve.client.state import DiskStore
from fedsieve.errors import RunFailedError
from fedsieve.simulations.flower import ProcessApp, WatchedGrid
from fedsieve.simulations.inline import InlineGrid
from tests.helpers import assert_same_run, config, simulated, summary_of
from tests.messages import FakeGrid, asking, failure
from tests.simulations.cases import CASES

pytestmark = pytest.mark.xdist_group("ray")


@pytest.mark.parametrize("algorithm", CASES)
def test_flowers_runtime_gives_the_inline_engines_run(
    algorithm: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    case = CASES[algorithm] | {"algorithm": algorithm}
    expected = simulated(tmp_path / "inline", case)
    found = simulated(tmp_path / "flower", case, engine="flower", num_workers=2)
    assert_same_run(found, expected, checkpoints=False)
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


class Polled(FakeGrid):
    """A grid whose replies come one at each pull, and at last no more."""

    def __init__(self, replies: int) -> None:
        super().__init__(2, lambda *_: None)
        self._left, self._asked = replies, list[Message]()

    def push_messages(self, messages: Any) -> list[str]:
        self._asked = list(messages)
        for number, message in enumerate(self._asked):
            message.metadata.__dict__["_message_id"] = str(number)
        return [message.metadata.message_id for message in self._asked]

    def pull_messages(self, message_ids: Any) -> list[Message]:
        if not self._left:
            return []
        self._left -= 1
        return [failure(self._asked.pop(0))]


def test_replies_are_handed_out_as_they_come():
    runtime: Future[None] = Future()
    replies = list(WatchedGrid(Polled(2), runtime).send_and_receive([asking(2), asking(3)]))
    assert [reply.metadata.reply_to_message_id for reply in replies] == ["0", "1"]
    assert len(list(WatchedGrid(Polled(1), runtime).send_and_receive([asking(2), asking(3)], timeout=0.3))) == 1


def test_a_runtime_that_has_ended_is_one_sentence_instead_of_a_long_wait():
    runtime: Future[None] = Future()
    runtime.set_exception(RuntimeError("Simulation Runtime\ncrashed."))
    with pytest.raises(RunFailedError, match=r"^Flower's simulation runtime has ended: Simulation Runtime crashed.$"):
        list(WatchedGrid(Polled(0), runtime).send_and_receive([asking(2)]))
