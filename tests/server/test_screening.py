import io
import pickle
import re
from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from fedsieve.contract import Arrays, Expected, Reply
from fedsieve.errors import make_printable
from fedsieve.server.screening import screen
from tests.messages import METRICS, asking, failure, reply

W = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)
B = np.array([0.5], dtype=np.float32)
EXPECTED = {"w": Expected.like(W), "b": Expected.like(B)}


def outcome(arrays: dict[str, np.ndarray | Array] | None = None, **metrics: object) -> Reply | str:
    kept = {name: value for name, value in (METRICS | metrics).items() if value is not None}
    return screen(3, reply(asking(), {"w": W, "b": B} if arrays is None else arrays, kept), EXPECTED)


def raw(data: bytes, dtype: str = "float32", shape: tuple[int, ...] = (2, 3), stype: str = "numpy.ndarray") -> Array:
    return Array(dtype, shape, stype, data)


def good_bytes() -> bytes:
    return Array(W).data


def with_header(header: str, values: bytes = b"") -> bytes:
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + values


def test_a_good_reply_passes_unchanged():
    good = outcome()
    assert isinstance(good, Reply)
    assert good.client == 3
    assert {name: array.tolist() for name, array in good.arrays.items()} == {"w": W.tolist(), "b": B.tolist()}
    assert good.metrics == METRICS
    assert good.num_examples == 4
    assert good.uplink_payload_bytes == 7 * 4


def test_metrics_an_algorithm_adds_pass():
    good = outcome(**{"mask-sparsity": 0.5, "of-its-own": -3.0})
    assert isinstance(good, Reply)
    assert good.metrics["mask-sparsity"] == 0.5
    assert good.metrics["of-its-own"] == -3.0


def test_fortran_order_is_read_as_the_same_matrix():
    good = outcome({"w": np.asfortranarray(W), "b": B})
    assert isinstance(good, Reply)
    assert good.arrays["w"].tolist() == W.tolist()


def of_code(code: np.ndarray | Array, unpack: Callable[[int, Arrays], Arrays] | None = None) -> Reply | str:
    """Screen a reply of which a vector of at most three bytes is expected."""
    message, expected = reply(asking(), {"code": code}), {"code": Expected.up_to(3, np.uint8)}
    return screen(3, message, expected) if unpack is None else screen(3, message, expected, unpack)


@pytest.mark.parametrize("length", [0, 1, 3])
def test_a_vector_may_be_shorter_than_the_most_that_is_expected(length: int):
    code = np.arange(length, dtype=np.uint8)
    good = of_code(code)
    assert isinstance(good, Reply)
    assert good.arrays["code"].tolist() == code.tolist()
    assert good.uplink_payload_bytes == length


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (np.zeros(4, dtype=np.uint8), r"^array code has shape \(4,\) where at most \(3,\) is expected$"),
        (np.zeros((1, 3), dtype=np.uint8), r"^array code has shape \(1, 3\) where at most \(3,\)"),
        (np.uint8(3), r"^array code has shape \(\) where at most \(3,\)"),
        (np.zeros(3, dtype=np.int8), r"^array code is int8 \(3,\) where uint8 \(3,\)"),
        (np.zeros(3, dtype=np.float32), r"^array code is float32 \(3,\) where uint8"),
        # the label says less than the bytes hold, and the other way round
        (Array("uint8", (2,), "numpy.ndarray", Array(np.zeros(3, dtype=np.uint8)).data), "^array code is uint8"),
        (Array("uint8", (3,), "numpy.ndarray", Array(np.zeros(9, dtype=np.uint8)).data), "^array code is uint8"),
        (Array("uint8", (-1,), "numpy.ndarray", Array(np.zeros(3, dtype=np.uint8)).data), "^array code is uint8"),
    ],
)
def test_what_is_no_vector_or_too_long_is_refused(code: np.ndarray | Array, reason: str):
    refused = of_code(np.asarray(code) if isinstance(code, np.uint8) else code)
    assert isinstance(refused, str)
    assert re.search(reason, refused), refused


def test_what_the_arrays_stand_for_takes_their_place_and_not_their_size():
    good = of_code(np.array([5, 6], dtype=np.uint8), lambda client, arrays: {"sum": arrays["code"].sum() + client})
    assert isinstance(good, Reply)
    assert good.arrays == {"sum": 5 + 6 + 3}
    assert good.uplink_payload_bytes == 2


def test_why_the_arrays_stand_for_nothing_is_the_reason():
    def refuse(client: int, arrays: Arrays) -> Arrays:
        raise ValueError(f"the code of client {client}\nis cut off")

    assert of_code(np.zeros(3, dtype=np.uint8), refuse) == "the code of client 3 is cut off"


def test_only_arrays_of_the_expected_shapes_are_unpacked():
    def never(client: int, arrays: Arrays) -> Arrays:
        pytest.fail("unpacked")

    assert isinstance(of_code(np.zeros(4, dtype=np.uint8), never), str)
    message = reply(asking(), {"code": np.zeros(3, dtype=np.uint8)}, METRICS | {"num-examples": -1})
    assert isinstance(screen(3, message, {"code": Expected.up_to(3, np.uint8)}, never), str)


def test_an_error_is_told_in_one_line():
    assert screen(0, failure(asking(), 2, "boom\n  at line 3"), EXPECTED) == "failed: boom at line 3"
    long = screen(0, failure(asking(), 2, "x" * 5000), EXPECTED)
    assert isinstance(long, str)
    assert len(long) <= 450


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"w": W}, "array keys differ.*: b$"),
        ({"w": W, "b": B, "mask/w": W}, "array keys differ.*: mask/w$"),
        ({"w": W.T, "b": B}, r"array w is float32 \(3, 2\) where float32 \(2, 3\)"),
        ({"w": W.reshape(-1), "b": B}, r"array w is float32 \(6,\)"),
        ({"w": W.astype(np.float64), "b": B}, "array w is float64"),
        ({"w": W.astype(">f4"), "b": B}, "array w is >f4"),
        ({"w": W.astype(np.int32), "b": B}, "array w is int32"),
        ({"w": W, "b": np.array([np.nan], dtype=np.float32)}, "array b holds NaN"),
        ({"w": W, "b": np.array([-np.inf], dtype=np.float32)}, "array b holds NaN or infinite"),
        ({"w": raw(good_bytes()[:-1]), "b": B}, "array w has 23 bytes where 24"),
        ({"w": raw(good_bytes() + b"\0"), "b": B}, "array w has 25 bytes where 24"),
        ({"w": raw(good_bytes()[:40]), "b": B}, "array w "),
        ({"w": raw(good_bytes()[:8]), "b": B}, "array w "),
        ({"w": raw(b""), "b": B}, "array w is not a serialised NumPy array"),
        ({"w": raw(b"\x80\x04 a pickle"), "b": B}, "array w is not a serialised"),
        ({"w": raw(good_bytes(), stype="torch.Tensor"), "b": B}, "array w is not a serialised"),
    ],
)
def test_arrays_that_are_not_as_expected_are_refused(arrays: dict[str, np.ndarray | Array], reason: str):
    refused = outcome(arrays)
    assert isinstance(refused, str)
    assert "\n" not in refused
    assert re.search(reason, refused), refused


def test_a_pickled_array_is_refused_and_not_unpickled():
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return pytest.fail, ("unpickled",)

    npy, plain = io.BytesIO(), pickle.dumps(Bomb())
    np.save(npy, np.array([Bomb()], dtype=object), allow_pickle=True)
    for data in (npy.getvalue(), plain):
        assert isinstance(outcome({"w": raw(data), "b": B}), str)


def test_a_header_that_claims_a_huge_shape_allocates_nothing():
    data = with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000000), }")
    refused = outcome({"w": raw(data, shape=(10**9, 10**9)), "b": B})
    assert isinstance(refused, str)
    assert "1000000000" in refused


@pytest.mark.parametrize(
    "array",
    [
        raw(good_bytes(), dtype="no-such-dtype"),
        raw(good_bytes(), dtype="float64"),
        raw(good_bytes(), shape=(10**12,)),
        raw(good_bytes(), shape=(-1,)),
    ],
)
def test_a_label_that_contradicts_the_bytes_is_refused_or_not_believed(array: Array):
    checked = outcome({"w": array, "b": B})
    if isinstance(checked, Reply):
        assert checked.uplink_payload_bytes == 7 * 4


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ({"val-accuracy": None}, "metrics lack val-accuracy"),
        ({"x" * 65: 1.0}, "a metric's name has 65 characters where at most 64 are taken"),
        ({"num-examples": None, "train-loss": None}, "metrics lack num-examples, train-loss"),
        ({"train-loss": float("nan")}, "metric train-loss is not one finite"),
        ({"of-its-own": float("inf")}, "metric of-its-own is not one finite"),
        ({"train-loss": [0.5, 0.5]}, "metric train-loss is not one finite"),
        ({"num-examples": -1}, "metric num-examples is -1, not a count"),
        ({"num-examples": 2.5}, "metric num-examples is 2.5, not a count"),
        ({"val-count": 2**41}, "metric val-count is 2199023255552, not a count"),
        ({"test-accuracy": 1.01}, "metric test-accuracy is 1.01, not between"),
        ({"test-macro-f1": -0.1}, "metric test-macro-f1 is -0.1"),
        ({"mask-sparsity": 2.0}, "metric mask-sparsity is 2.0"),
    ],
)
def test_metrics_that_cannot_be_are_refused(metrics: dict[str, object], reason: str):
    refused = outcome(**metrics)
    assert isinstance(refused, str)
    assert refused.startswith(reason)


def test_numbers_at_the_edges_pass():
    assert isinstance(outcome(**{"num-examples": 0, "test-accuracy": 1.0, "val-accuracy": 0.0}), Reply)


ARRAYS, NUMBERS = ArrayRecord({"w": Array(W), "b": Array(B)}), MetricRecord(dict(METRICS))


@pytest.mark.parametrize(
    "records",
    [
        {},
        {"arrays": ARRAYS},
        {"metrics": NUMBERS},
        {"arrays": ARRAYS, "metrics": NUMBERS, "config": ConfigRecord()},
        {"weights": ARRAYS, "metrics": NUMBERS},
        {"arrays": NUMBERS, "metrics": ARRAYS},
        {"arrays": ARRAYS, "metrics": ConfigRecord()},
        {"arrays": ARRAYS, "metrics": ARRAYS},
    ],
)
def test_records_that_are_not_one_of_arrays_and_one_of_metrics_are_refused(records: dict[str, object]):
    refused = screen(0, Message(RecordDict(records), reply_to=asking()), EXPECTED)
    assert isinstance(refused, str)
    assert refused


NPY = st.builds(lambda body: b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body, st.binary(max_size=200))
HEADERS = st.builds(
    with_header,
    st.one_of(
        st.text(st.characters(max_codepoint=255), max_size=80),
        st.text("{}[]()'\"\\:,#<f4 \t\n0123456789descrshapefortran_orderTrue", max_size=80),
        st.builds(
            "{{'descr': {}, 'fortran_order': {}, 'shape': {}}}".format,
            st.sampled_from(
                ["'<f4'", "'|O'", "''", "[]", "('f4',)", "[('a','<f4')]", "3", "None", "'" + "f" * 99 + "'"]
            ),
            st.sampled_from(["False", "True", "1", "''"]),
            st.sampled_from(["(2, 3)", "(-2, 3)", "(2,)", "2", "(True,)", "(2.0, 3)", "[2, 3]", "(2L, 3L)"]),
        ),
    ),
)


def check_refused(data: bytes) -> None:
    refused = outcome({"w": raw(data), "b": B})
    if isinstance(refused, Reply):
        assert refused.arrays["w"].shape == (2, 3)
        assert refused.arrays["w"].dtype == np.float32
    else:
        assert refused.startswith("array w ")


@given(st.one_of(st.binary(max_size=300), NPY, HEADERS, st.integers(0, 200).map(lambda cut: good_bytes()[:cut])))
@pytest.mark.filterwarnings("ignore")
def test_whatever_bytes_come_there_is_a_reason_and_no_exception(data: bytes):
    check_refused(data)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("{'descr': '<f4', ", id="cut off"),
        pytest.param("  {}\n x", id="indented"),
        pytest.param("{[]: 1}", id="unhashable"),
        pytest.param("(" * 3000, id="brackets"),
        pytest.param("-" * 9000 + "1", id="deep"),
        pytest.param("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }" + " " * 20000, id="long"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_header_that_python_cannot_read_is_a_reason_and_no_exception(header: str):
    check_refused(with_header(header, W.tobytes()))


def test_a_finite_value_that_would_overflow_the_mean_is_refused():
    found = outcome({"w": np.full((2, 3), 3e38, dtype=np.float32), "b": np.zeros(3, dtype=np.float32)})
    assert isinstance(found, str)
    assert "beyond" in found


def test_what_a_client_sends_is_logged_without_control_characters():
    assert make_printable("a\x1b[2Jb\x00\nc" + "d" * 1000).startswith("a [2Jb cddd")
    assert len(make_printable("d" * 10_000)) == 400
