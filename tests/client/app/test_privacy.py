from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from hypothesis import given
from hypothesis import strategies as st

from fedsieve.client.app import client_app
from fedsieve.client.app.privacy import clip_update, make_bounded_mod, make_secret_generator, make_seeded_generator
from fedsieve.contract import Arrays
from fedsieve.wire import to_arrays, to_record
from tests.helpers import assert_same_run, simulated, write_graph
from tests.messages import asking

SENT = {"w": np.array([[1, 2]], np.float32), "b": np.array([3], np.float32)}
TRAINED = {"w": np.array([[4, 2]], np.float32), "b": np.array([7], np.float32)}
"""The update has norm 5."""


def context(clip: float, noise: float, partition: int = 0) -> Context:
    keys = {"dp-clip": clip, "dp-noise": noise, "seed": 3}
    return Context(1, 2, {"partition-id": partition}, RecordDict(), keys)


def asked(kind: str = "train", round_: int = 1) -> Message:
    message = asking(kind=kind)
    message.content["arrays"], message.content["config"] = to_record(SENT), ConfigRecord({"round": round_})
    return message


def answered(app: ClientApp, where: Context, kind: str = "train", round_: int = 1) -> Arrays:
    return to_arrays(app(asked(kind, round_), where).content.array_records["arrays"])


def made(**arguments: Any) -> ClientApp:
    app = ClientApp(**arguments)

    @app.train()
    @app.query()
    def train(message: Message, context: Context) -> Message:
        return Message(RecordDict({"arrays": to_record(TRAINED)}), reply_to=message)

    return app


def test_an_update_is_scaled_to_the_norm_and_a_smaller_one_left_alone():
    none = np.random.RandomState(0)
    found = clip_update(TRAINED, SENT, 2.5, 0.0, none)
    assert {name: array.tolist() for name, array in found.items()} == {"w": [[2.5, 2]], "b": [5]}
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    untouched = clip_update(TRAINED, SENT, 5.0, 0.0, none)
    assert all(untouched[name].tolist() == TRAINED[name].tolist() for name in TRAINED)
    unchanged = clip_update(SENT, SENT, 1.0, 0.0, none)
    assert all(unchanged[name].tolist() == SENT[name].tolist() for name in SENT)


@given(st.integers(0, 99), st.floats(1e-3, 1e3))
def test_no_update_is_larger_than_the_clip(seed: int, clip: float):
    random = np.random.RandomState(seed)
    trained, sent = ({"a": random.normal(size=(3, 4)), "b": random.normal(size=7)} for _ in range(2))
    found = clip_update(trained, sent, clip, 0.0, random)
    assert np.sqrt(sum(np.sum((found[name] - sent[name]) ** 2) for name in sent)) <= clip * (1 + 1e-9)


def test_noise_has_the_deviation_asked_for():
    zeros = {"w": np.zeros((200, 200), np.float32)}
    found = clip_update(zeros, zeros, 1.0, 0.3, np.random.RandomState(0))["w"]
    assert found.std() == pytest.approx(0.3, rel=0.02)
    assert found.mean() == pytest.approx(0, abs=0.01)


def test_the_mod_bounds_training_alone_and_only_when_asked():
    app = made(mods=[make_bounded_mod(make_seeded_generator)])
    assert answered(app, context(2.5, 0.0))["b"].tolist() == [5]
    assert answered(app, context(0.0, 0.0))["b"].tolist() == [7]
    assert answered(app, context(2.5, 0.0), kind="query")["b"].tolist() == [7]


def test_a_simulations_noise_is_the_streams_and_a_devices_is_nobodys():
    app = made(mods=[make_bounded_mod(make_seeded_generator)])
    first = answered(app, context(1.0, 1.0))["b"].tolist()
    assert answered(app, context(1.0, 1.0))["b"].tolist() == first
    assert answered(app, context(1.0, 1.0), round_=2)["b"].tolist() != first
    assert answered(app, context(1.0, 1.0, partition=1))["b"].tolist() != first
    hidden = made(mods=[make_bounded_mod(make_secret_generator)])
    assert answered(hidden, context(1.0, 1.0))["b"].tolist() != answered(hidden, context(1.0, 1.0))["b"].tolist()


def test_devices_draw_their_noise_in_secret(monkeypatch: pytest.MonkeyPatch):
    """The app that SuperNodes load; the server knows the seed, so noise drawn from it would hide nothing."""
    (mod,) = client_app.app._mods
    inner = made()
    where = context(1.0, 1.0)
    drawn = [mod(asked(), where, inner) for _ in range(2)]
    one, other = (to_arrays(reply.content.array_records["arrays"])["b"].tolist() for reply in drawn)
    assert one != other


def test_a_clipped_run_is_the_same_each_time_and_another_than_a_free_one(tmp_path: Path):
    keys = {"algorithm": "fed-prox", "dataset": str(write_graph(tmp_path / "graph.npz")), "num-clients": 3}
    keys |= {"num-rounds": 3, "hidden-dim": 8}
    free = simulated(tmp_path / "free", keys)
    first, second = (simulated(tmp_path / name, keys | {"dp-clip": 0.1, "dp-noise": 0.01}) for name in ("a", "b"))
    assert_same_run(first, second)
    assert (first / "rounds.jsonl").read_text() != (free / "rounds.jsonl").read_text()
