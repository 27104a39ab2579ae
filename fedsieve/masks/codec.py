"""Bits of a binary mask on the wire: fewer than one a weight where the broadcast foretells them.

A mask code is, numbers little-endian: version and scheme (4 bits each), number of signs (LEB128), bytes of the body
(LEB128), body, CRC-32 of all before it (4). The body is a flip probability a context (a byte each, see `contexts`) and
then the flips, ordered by context, as 32-bit words of a range coder; under the raw scheme it is the signs, packed.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from constriction import stream
from numpy.typing import NDArray

from fedsieve.masks import contexts

VERSION = 1
RAW = len(contexts.SCHEMES)

_CRC_BYTES = 4
_MAX_VARINT_BYTES = 9


def encode(signs: NDArray[np.bool_], broadcast: NDArray[np.int8], layer_sizes: Sequence[int]) -> NDArray[np.uint8]:
    """Return the mask code of `signs`, at most `max_code_bytes(n)` bytes, read-only.

    Vallapuram et al. 2022 (arXiv 2206.04385) send one bit a weight; the coding is ours.

    Args:
        signs: True for +1, shape [n].
        broadcast: the mean sign times 127 that the server sent, shape [n]; the nearer to ±127, the surer.
        layer_sizes: entries of each layer; they sum to n.

    Raises:
        ValueError: the sizes do not agree.
    """
    _check_sizes(broadcast, layer_sizes)
    if signs.shape != broadcast.shape:
        raise ValueError(f"signs are {signs.shape} where the broadcast is {broadcast.shape}")
    flips = signs ^ (broadcast >= 0)
    finest = contexts.finest(broadcast, layer_sizes)
    scheme, places = contexts.cheapest(flips, finest)
    order, sizes = contexts.group(scheme, finest)
    body = places.tobytes() + _to_words(flips[order], sizes, places)
    raw, coded = _frame(RAW, len(signs), np.packbits(signs).tobytes()), _frame(scheme, len(signs), body)
    return np.frombuffer(min(raw, coded, key=len), np.uint8)


def decode(code: NDArray[np.uint8], broadcast: NDArray[np.int8], layer_sizes: Sequence[int]) -> NDArray[np.bool_]:
    """Return the signs in a mask code from an untrusted sender, shape [n].

    Args:
        code: what `encode` returned for the same `broadcast` and `layer_sizes`.
        broadcast: as sent to the client, shape [n].
        layer_sizes: entries of each layer; they sum to n.

    Raises:
        ValueError: it is anything else, one clause; another choice of scheme or probabilities is taken all the same.
    """
    _check_sizes(broadcast, layer_sizes)
    n = len(broadcast)
    if code.dtype != np.uint8 or code.ndim != 1:
        raise ValueError(f"mask code is {code.dtype} {code.shape} where uint8 of one dimension is expected")
    if len(code) > max_code_bytes(n):
        raise ValueError(f"mask code has {len(code)} bytes where at most {max_code_bytes(n)} are taken")
    scheme, body = _unframe(code.tobytes(), n)
    if scheme == RAW:
        return _unpack(body, n)
    order, sizes = contexts.group(scheme, contexts.finest(broadcast, layer_sizes))
    flips = np.empty(n, np.bool_)
    flips[order] = _from_body(body, sizes)
    return flips ^ (broadcast >= 0)


def max_code_bytes(n: int) -> int:
    """Return the size of the longest mask code of `n` signs, the raw one: n bits and 7 to 11 bytes to two million."""
    packed = -(-n // 8)
    return 1 + len(_varint(n)) + len(_varint(packed)) + packed + _CRC_BYTES


def _frame(scheme: int, n: int, body: bytes) -> bytes:
    framed = bytes((VERSION << 4 | scheme,)) + _varint(n) + _varint(len(body)) + body
    return framed + zlib.crc32(framed).to_bytes(_CRC_BYTES, "little")


def _unframe(data: bytes, n: int) -> tuple[int, bytes]:
    """Return the scheme and the body of a mask code of `n` signs."""
    if not data:
        raise ValueError("mask code is cut off")
    version, scheme = data[0] >> 4, data[0] & 15
    if version != VERSION:
        raise ValueError(f"mask code is of version {version} where {VERSION} is expected")
    if scheme > RAW:
        raise ValueError(f"mask code is of unknown scheme {scheme}")
    found, start = _read_varint(data, 1)
    if found != n:
        raise ValueError(f"mask code holds {found} signs where {n} are expected")
    length, start = _read_varint(data, start)
    left_over = len(data) - (start + length + _CRC_BYTES)
    if left_over < 0:
        raise ValueError("mask code is cut off")
    if left_over > 0:
        raise ValueError("mask code has bytes left over")
    if zlib.crc32(data[:-_CRC_BYTES]) != int.from_bytes(data[-_CRC_BYTES:], "little"):
        raise ValueError("mask code's checksum does not match")
    return scheme, data[start:-_CRC_BYTES]


def _unpack(body: bytes, n: int) -> NDArray[np.bool_]:
    if len(body) != -(-n // 8):
        raise ValueError(f"mask code packs {n} signs in {len(body)} bytes")
    bits = np.unpackbits(np.frombuffer(body, np.uint8)).view(np.bool_)
    if bits[n:].any():
        raise ValueError("mask code's padding is not zero")
    return bits[:n]


def _to_words(symbols: NDArray[np.bool_], sizes: NDArray[np.intp], places: NDArray[np.uint8]) -> bytes:
    """Range-code `symbols`, ordered by context, of which there are `sizes` with probabilities at these `places`."""
    coder, numbers, start = stream.queue.RangeEncoder(), symbols.astype(np.int32), 0
    for size, model in zip(sizes.tolist(), _models(places), strict=True):
        coder.encode(numbers[start : start + size], model)
        start += size
    return bytes(coder.get_compressed().astype("<u4").tobytes())


def _from_body(body: bytes, sizes: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return the flips in `body`, ordered by context."""
    start = len(sizes)
    if len(body) < start or (len(body) - start) % 4:
        raise ValueError(f"mask code's body of {len(body)} bytes is not {len(sizes)} probabilities and whole words")
    places = np.frombuffer(body, np.uint8, len(sizes))
    coder = stream.queue.RangeDecoder(np.frombuffer(body, "<u4", offset=start).astype(np.uint32))
    try:
        groups = [coder.decode(model, size) for size, model in zip(sizes.tolist(), _models(places), strict=True)]
    except Exception as error:  # constriction names none of its exceptions; it raises AssertionError
        raise ValueError("mask code's words are not a range coder's") from error
    flips = np.concatenate([np.empty(0, np.int32), *groups]).astype(np.bool_)
    # A range decoder reads on past the end and does not see words left over, so only coding again shows either.
    if _to_words(flips, sizes, places) != body[start:]:
        raise ValueError("mask code's words are not those of its signs")
    return flips


def _models(places: NDArray[np.uint8]) -> list[Any]:
    # `perfect` would round by logarithms, which differ between machines; without it the model is exact in integers.
    return [stream.model.Bernoulli(k / contexts.SCALE, perfect=False) for k in contexts.LADDER[places].tolist()]


def _varint(number: int) -> bytes:
    """Return `number` in LEB128: 7 bits a byte, least significant first, the high bit set in all but the last."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*written, number))


def _read_varint(data: bytes, start: int) -> tuple[int, int]:
    """Return the number that `data` has at `start`, and where it ends."""
    number = 0
    for place, byte in enumerate(data[start : start + _MAX_VARINT_BYTES]):
        number |= (byte & 0x7F) << 7 * place
        if byte == 0 and place > 0:
            break
        if byte <= 0x7F:
            return number, start + place + 1
    else:
        if len(data) < start + _MAX_VARINT_BYTES:
            raise ValueError("mask code is cut off")
    raise ValueError("mask code has an overlong number")


def _check_sizes(broadcast: NDArray[np.int8], layer_sizes: Sequence[int]) -> None:
    if broadcast.shape != (sum(layer_sizes),):
        raise ValueError(f"layers hold {sum(layer_sizes)} entries where the broadcast is {broadcast.shape}")
