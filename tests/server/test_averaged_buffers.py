import numpy as np
import pytest
from flwr.app import Message

from fedsieve.contract import Expected, Reply
from fedsieve.server.averaged_buffers import AveragedBuffers
from fedsieve.server.screening import screen
from fedsieve.wire import to_record
from tests.messages import METRICS, asking, reply

START = {"norm.running_var": np.ones(2, np.float32), "norm.count": np.array(0), "on": np.array([True, False])}
EXPECTED = {name: Expected.like(array) for name, array in START.items()}
GOOD = {"norm.running_var": np.array([1, 2], np.float32), "norm.count": np.array(3), "on": np.array([True, True])}


def answer(client: int, num_examples: int, var: list[float], count: int, on: list[bool]) -> Reply:
    buffers = {"norm.running_var": np.array(var, np.float32), "norm.count": np.array(count), "on": np.array(on)}
    return Reply(client, {}, {"num-examples": num_examples}, buffers=buffers)


def test_the_mean_is_weighted_and_of_whole_numbers_rounded():
    buffers = AveragedBuffers(START)
    buffers.combine([answer(0, 1, [1, 2], 10, [True, True]), answer(1, 3, [2, 6], 15, [False, True])])
    assert {name: array.tolist() for name, array in buffers.values.items()} == {
        "norm.running_var": [1.75, 5.0], "norm.count": 14, "on": [False, True],
    }  # fmt: skip
    assert {name: array.dtype for name, array in buffers.values.items()} == {n: a.dtype for n, a in START.items()}


def test_a_checkpoint_brings_them_back_beside_the_algorithms_own():
    buffers = AveragedBuffers(GOOD)
    again = AveragedBuffers(START)
    rest = again.take_state({"w": np.zeros(1)} | buffers.state())
    assert list(rest) == ["w"]
    assert {name: array.tolist() for name, array in again.values.items()} == {n: a.tolist() for n, a in GOOD.items()}


def screened(buffers: dict[str, np.ndarray] | None) -> Reply | str:
    message: Message = reply(asking(), {}, METRICS)
    if buffers is not None:
        message.content["buffers"] = to_record(buffers)
    return screen(3, message, {}, buffers=EXPECTED)


def test_good_buffers_pass_beside_the_arrays():
    good = screened(GOOD | {"norm.running_var": np.array([0, 1e9], np.float32)})
    assert isinstance(good, Reply)
    assert good.buffers["norm.running_var"].tolist() == [0, 1e9]
    assert good.arrays == {}
    assert good.uplink_payload_bytes == 8 + 8 + 2


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            {"norm.running_var": np.array([1, np.nan], np.float32)},
            "array norm.running_var holds NaN or infinite values",
        ),
        ({"norm.running_var": np.array([1, -1], np.float32)}, "array norm.running_var holds variances below 0"),
        ({"norm.running_var": np.ones(3, np.float32)}, "array norm.running_var is float32 (3,) where float32 (2,)"),
        ({"norm.count": np.array(1.0)}, "array norm.count is float64 () where int64 () is expected"),
        ({"other": np.array(1.0)}, "array keys differ from those expected: other"),
    ],
)
def test_bad_buffers_are_named(change: dict[str, np.ndarray], fault: str):
    assert str(screened(GOOD | change)).startswith(fault)


def test_buffers_that_lack_or_that_nobody_has_asked_for_are_refused():
    assert "array, metric and config records" in str(screened(None))
    message = reply(asking(), {}, METRICS)
    message.content["buffers"] = to_record(GOOD)
    assert "array, metric and config records" in str(screen(3, message, {}))
