"""Records on the wire: named arrays to and from Flower's `ArrayRecord`, and their sizes. No pickle.

The bytes are those of Flower's own `Array(ndarray)`, version 1.0 of NumPy's `.npy` format; a test compares them. They
are written and read here because Flower formats and parses each array's header every time, which
cost as much as training.
"""

import io
import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from flwr.common.serde import array_to_proto, recorddict_to_proto
from numpy.lib import format as npy
from torch import Tensor

from fedsieve.contract import Arrays, Expected, NDArray, Shape

MAX_NAME = 255
"""Characters of a class's name, which a client cuts off and a server refuses."""

BUFFERS = "buffers"
"""Name of the record that holds buffers, beside that of the arrays."""

_NUMPY = "numpy.ndarray"
_MAGIC = npy.magic(1, 0)
_MAX_HEADER = 1024

MAX_VALUE = 1e6
"""No weight or embedding of a model that learns comes near; beyond it a mean or a forward pass can overflow."""


def to_record(arrays: Mapping[str, NDArray | Tensor]) -> ArrayRecord:
    """Serialise named arrays."""
    return ArrayRecord({name: _encode(np.asarray(array.cpu() if isinstance(array, Tensor) else array))
                        for name, array in arrays.items()})  # fmt: skip


def to_arrays(record: ArrayRecord) -> Arrays:
    """Deserialise a record from a trusted sender; the arrays are read-only."""
    return {name: decode(array, array.shape, np.dtype(array.dtype)) for name, array in record.items()}


def to_tensors(record: ArrayRecord, device: torch.device) -> dict[str, Tensor]:
    """Deserialise a record from a trusted sender."""
    return {name: torch.from_numpy(array.copy()).to(device) for name, array in to_arrays(record).items()}


def decode(array: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray:
    """Deserialise an array from an untrusted sender, of which `shape` and `dtype` are expected; read-only.

    Nothing is allocated: the result is a view of the bytes that came, once they say what is expected.

    Raises:
        ValueError: it is anything else; one clause, without the array's name.
    """
    data = array.data
    if array.stype != _NUMPY or not data.startswith(_MAGIC):
        raise ValueError("is not a serialised NumPy array")
    if (array.shape, array.dtype) != (shape, str(dtype)):
        raise ValueError(f"is {array.dtype} {array.shape} where {dtype} {shape} is expected")
    start = len(_MAGIC) + 2 + int.from_bytes(data[len(_MAGIC) : len(_MAGIC) + 2], "little")
    if start > _MAX_HEADER:
        raise ValueError("has an overlong header")
    found_shape, fortran, found_dtype = _parse_header(data[len(_MAGIC) : start])
    if (found_shape, found_dtype) != (shape, dtype):
        raise ValueError(f"is {found_dtype} {found_shape} where {dtype} {shape} is expected")
    needed = math.prod(shape) * dtype.itemsize
    if len(data) != start + needed:
        raise ValueError(f"has {len(data) - start} bytes where {needed} are expected")
    return np.frombuffer(data, dtype, offset=start).reshape(shape, order="F" if fortran else "C")


def checked_arrays(record: ArrayRecord, expected: Mapping[str, Expected], largest: float = MAX_VALUE) -> Arrays:
    """Deserialise a record from an untrusted sender; the arrays are read-only.

    Raises:
        ValueError: its names, shapes or dtypes are not those expected, or a value is not finite or beyond `largest`;
            one clause.
    """
    if odd := set(record) ^ set(expected):
        raise ValueError(f"array keys differ from those expected: {', '.join(sorted(odd))}")
    arrays: Arrays = {}
    for name, want in expected.items():
        try:
            arrays[name] = decode(record[name], _exact_shape(record[name], want), want.dtype)
        except ValueError as error:
            raise ValueError(f"array {name} {error}") from error
        if arrays[name].size and not -largest <= arrays[name].min() <= arrays[name].max() <= largest:
            fault = f"values beyond ±{largest:g}" if np.isfinite(arrays[name]).all() else "NaN or infinite values"
            raise ValueError(f"array {name} holds {fault}")
    return arrays


def _exact_shape(array: Array, want: Expected) -> tuple[int, ...]:
    """Return the exact shape that `decode` has to find."""
    if not want.at_most:
        return want.shape
    if len(array.shape) != 1 or array.shape[0] > want.shape[0]:
        raise ValueError(f"has shape {array.shape} where at most {want.shape} is expected")
    return array.shape


def serialized_bytes(content: RecordDict) -> int:
    """Return the size of `content` in Flower's protobuf, message metadata excluded, without a copy of the arrays."""
    rest = RecordDict({key: record for key, record in content.items() if not isinstance(record, ArrayRecord)})
    total = int(recorddict_to_proto(rest).ByteSize())
    for key, record in content.array_records.items():
        items = (
            _text(name) + _field(_array_bytes(array.dtype, array.shape, array.stype, len(array.data)))
            for name, array in record.items()
        )
        total += _field(_text(key) + _field(sum(_field(size) for size in items)))
    return total


def payload_bytes(content: RecordDict) -> int:
    """Return the size of the arrays' values alone; of arrays that `decode` has taken, if they came from a client."""
    arrays: Iterable[Array] = (array for record in content.array_records.values() for array in record.values())
    return sum(math.prod(array.shape) * np.dtype(array.dtype).itemsize for array in arrays)


def shape_record(shape: Shape) -> ConfigRecord:
    """Return a network's shape as it travels."""
    of_edges = {"edge-dim": shape.edge_dim} if shape.edge_dim else {}
    return ConfigRecord({"input-shape": list(shape.input), "num-classes": shape.num_classes, **of_edges})


def read_shape(config: ConfigRecord) -> Shape:
    """Return the shape that `shape_record` wrote."""
    input_, num_classes, edge_dim = config["input-shape"], config["num-classes"], config.get("edge-dim", 0)
    return Shape(tuple(input_), int(num_classes), int(edge_dim))  # type: ignore[arg-type]


def _encode(array: NDArray) -> Array:
    contiguous = np.ascontiguousarray(array).reshape(array.shape)
    data = b"".join(
        (_MAGIC, _format_header(array.shape, array.dtype), contiguous.data.cast("B") if array.size else b"")
    )
    return Array(str(array.dtype), array.shape, _NUMPY, data)


@lru_cache(maxsize=1024)
def _format_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    written = io.BytesIO()
    descr = npy.dtype_to_descr(dtype)
    npy.write_array_header_1_0(written, {"descr": descr, "fortran_order": False, "shape": shape})
    return written.getvalue().removeprefix(_MAGIC)


@lru_cache(maxsize=1024)
def _parse_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        return npy.read_array_header_1_0(io.BytesIO(header))
    except Exception as error:  # NumPy evaluates the header as a literal, and a hostile one can raise nearly anything
        raise ValueError("has an unreadable header") from error


@lru_cache(maxsize=1024)
def _array_bytes(dtype: str, shape: tuple[int, ...], stype: str, length: int) -> int:
    return int(array_to_proto(Array(dtype, shape, stype, b"")).ByteSize()) + (_field(length) if length else 0)


def _field(size: int) -> int:
    """Return the size of a length-delimited protobuf field whose number is below 16."""
    return 1 + max(1, -(-size.bit_length() // 7)) + size


def _text(text: str) -> int:
    return _field(len(text.encode())) if text else 0
