import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.serde import recorddict_to_proto
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fedsieve.wire import decode, payload_bytes, serialized_bytes, to_arrays, to_record, to_tensors

DTYPES = st.sampled_from([np.dtype(name) for name in ("f4", "f8", "f2", "i8", "i4", "u1", "?")])
SHAPES = array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
ARRAYS = DTYPES.flatmap(lambda dtype: arrays(dtype, SHAPES))
KEYS = st.text("abc./é", max_size=12)
RECORDS = st.dictionaries(KEYS, ARRAYS, max_size=4)


@given(RECORDS, st.booleans())
def test_the_bytes_are_flowers_own(named: dict[str, np.ndarray], turned: bool):
    named = {name: array.T for name, array in named.items()} if turned else named
    ours = to_record(named)
    for name, array in named.items():
        theirs = Array(np.ascontiguousarray(array).reshape(array.shape))
        assert (ours[name].dtype, tuple(ours[name].shape), ours[name].stype) == (
            theirs.dtype,
            tuple(theirs.shape),
            theirs.stype,
        )
        assert ours[name].data == theirs.data


@given(RECORDS)
def test_arrays_come_back_as_they_were(named: dict[str, np.ndarray]):
    found = to_arrays(to_record(named))
    assert list(found) == list(named)
    for name, array in named.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


@given(ARRAYS)
def test_flowers_arrays_are_read_in_either_order(array: np.ndarray):
    for stored in (np.ascontiguousarray(array).reshape(array.shape), np.asfortranarray(array).reshape(array.shape)):
        found = decode(Array(stored), array.shape, array.dtype)
        assert found.tobytes() == array.tobytes()
        assert not found.flags.writeable


def test_tensors_go_and_come():
    named = {"w": torch.arange(6.0).reshape(2, 3).t(), "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3)}
    record = to_record(named)
    assert record["w"].numpy().tolist() == named["w"].tolist()
    found = to_tensors(record, torch.device("cpu"))
    assert all(torch.equal(found[name], named[name]) for name in named)
    found["w"].zero_()  # they are the caller's own
    assert to_arrays(record)["w"].tolist() == named["w"].tolist()


NUMBERS = st.one_of(st.integers(-(2**62), 2**62), st.floats(allow_nan=False))
METRICS = st.dictionaries(KEYS, st.one_of(NUMBERS, st.lists(st.floats(), max_size=3)), max_size=3)
CONFIGS = st.dictionaries(
    KEYS, st.one_of(NUMBERS, st.text(max_size=200), st.booleans(), st.binary(max_size=9)), max_size=3
)


@given(
    st.dictionaries(
        KEYS, st.one_of(RECORDS.map(to_record), METRICS.map(MetricRecord), CONFIGS.map(ConfigRecord)), max_size=4
    )
)
def test_sizes_are_protobufs(records: dict[str, ArrayRecord | MetricRecord | ConfigRecord]):
    content = RecordDict(records)
    assert serialized_bytes(content) == recorddict_to_proto(content).ByteSize()


@pytest.mark.parametrize("size", [1, 30, 31, 32, 4000, 4064, 4065, 500_000, 524_250, 524_287, 600_000])
def test_sizes_are_protobufs_where_a_length_takes_one_byte_more(size: int):
    content = RecordDict({"arrays": to_record({"w" * (size % 150): np.zeros(size, dtype=np.float32)})})
    assert serialized_bytes(content) == recorddict_to_proto(content).ByteSize()


@given(RECORDS)
def test_the_payload_is_the_values_alone(named: dict[str, np.ndarray]):
    content = RecordDict({"arrays": to_record(named), "metrics": MetricRecord({"a": 1.0})})
    assert payload_bytes(content) == sum(array.nbytes for array in named.values())
