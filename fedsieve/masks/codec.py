"""Bits of a binary mask on the wire: fewer than one a weight where the broadcast and the network foretell them.

A mask code is: version and scheme (4 bits each), number of signs (LEB128), body, checksum (3 bytes). The code's length
tells where the body ends. The checksum is the low 24 bits, little-endian, of the CRC-32 of all before the body and of
the signs, packed.

Scheme 0: the body is the flips (see `chances`) as the words of a range coder, the most significant byte first, ended
with the fewest bytes that still name the flips if zeros follow without end. Scheme 1: the body is the signs, packed.

A code is taken only if its signs give its bytes. One that was altered, or that is read with another broadcast or other
groups than it was written with, thus has other signs, and the checksum lets one such code in 2^24 pass.
"""

import zlib

import numpy as np
from constriction import stream
from numpy.typing import NDArray

from fedsieve.masks.chances import SCALE, Chances
from fedsieve.masks.groups import Groups

VERSION = 2
CODED, RAW = SCHEMES = range(2)

_CRC_BYTES = 3
_MAX_VARINT_BYTES = 9
# `perfect` would round by logarithms, which differ between machines; without it the model is exact in integers.
_FLIP = stream.model.Bernoulli(perfect=False)
_DAMAGED = "mask code's checksum does not match: it is cut off, altered, or of another broadcast"


def encode(signs: NDArray[np.bool_], broadcast: NDArray[np.int8], groups: Groups) -> NDArray[np.uint8]:
    """Return the mask code of `signs`, at most `max_code_bytes(n)` bytes, read-only.

    Vallapuram et al. 2022 (arXiv 2206.04385) send one bit a weight; the coding is ours.

    Args:
        signs: True for +1, shape [n].
        broadcast: the mean sign times 127 that the server sent, shape [n]; the nearer to ±127, the surer.
        groups: the group of each entry, shape [n].

    Raises:
        ValueError: the shapes do not agree.
    """
    _check_shapes(broadcast, groups)
    if signs.shape != broadcast.shape:
        raise ValueError(f"signs are {signs.shape} where the broadcast is {broadcast.shape}")
    chances = Chances(broadcast, groups)
    flips = (signs ^ (broadcast >= 0))[chances.order]
    of_steps = []
    for start, end in chances.steps:
        of_steps.append(chances.of(start, end))
        chances.learn(flips[start:end])
    body = _encode_flips(flips, of_steps)
    packed = np.packbits(signs).tobytes()
    if len(packed) <= len(body):
        return np.frombuffer(_frame(RAW, packed, signs), np.uint8)
    return np.frombuffer(_frame(CODED, body, signs), np.uint8)


def decode(code: NDArray[np.uint8], broadcast: NDArray[np.int8], groups: Groups) -> NDArray[np.bool_]:
    """Return the signs in a mask code from an untrusted sender, shape [n].

    Args:
        code: what `encode` returned for the same `broadcast` and `groups`.
        broadcast: as sent to the client, shape [n].
        groups: the group of each entry, shape [n].

    Raises:
        ValueError: it is anything else, one clause; another choice of scheme is taken all the same.
    """
    _check_shapes(broadcast, groups)
    n = len(broadcast)
    if code.dtype != np.uint8 or code.ndim != 1:
        raise ValueError(f"mask code is {code.dtype} {code.shape} where uint8 of one dimension is expected")
    if len(code) > max_code_bytes(n):
        raise ValueError(f"mask code has {len(code)} bytes where at most {max_code_bytes(n)} are taken")
    data = code.tobytes()
    scheme, start = _read_header(data, n)
    body = data[start:-_CRC_BYTES]
    signs = _unpack(body, n) if scheme == RAW else _decode_body(body, broadcast, groups)
    if signs is None or _frame(scheme, body, signs) != data:
        raise ValueError(_DAMAGED)
    return signs


def max_code_bytes(n: int) -> int:
    """Return the size of the longest mask code of `n` signs, the raw one: n bits and 5 to 7 bytes to two million."""
    return 1 + len(_encode_varint(n)) + -(-n // 8) + _CRC_BYTES


def _frame(scheme: int, body: bytes, signs: NDArray[np.bool_]) -> bytes:
    header = bytes((VERSION << 4 | scheme,)) + _encode_varint(len(signs))
    checksum = zlib.crc32(np.packbits(signs).tobytes(), zlib.crc32(header))
    return header + body + checksum.to_bytes(4, "little")[:_CRC_BYTES]


def _read_header(data: bytes, n: int) -> tuple[int, int]:
    """Return the scheme of a mask code of `n` signs, and where its body begins."""
    if not data:
        raise ValueError("mask code is cut off")
    version, scheme = data[0] >> 4, data[0] & 15
    if version != VERSION:
        raise ValueError(f"mask code is of version {version} where {VERSION} is expected")
    if scheme not in SCHEMES:
        raise ValueError(f"mask code is of unknown scheme {scheme}")
    number, start = _read_varint(data, 1)
    if number != n:
        raise ValueError(f"mask code holds {number} signs where {n} are expected")
    if len(data) < start + _CRC_BYTES:
        raise ValueError("mask code is cut off")
    return scheme, start


def _unpack(body: bytes, n: int) -> NDArray[np.bool_] | None:
    """Return the signs that the body of a raw code packs; None if they are not `n`, padded with zeros."""
    if len(body) != -(-n // 8):
        return None
    bits = np.unpackbits(np.frombuffer(body, np.uint8)).view(np.bool_)
    return None if bits[n:].any() else bits[:n]


def _encode_flips(flips: NDArray[np.bool_], chances: list[NDArray[np.int64]]) -> bytes:
    """Return the body of a coded mask: `flips` in the order of coding, with the chances of each step."""
    coder = stream.queue.RangeEncoder()
    if chances:
        coder.encode(flips.astype(np.int32), _FLIP, np.concatenate(chances) / SCALE)
    words: NDArray[np.uint32] = coder.get_compressed()
    position, (lower, size) = coder.pos()
    # All words from `position` on are the coder's own ending, a number above `lower`, of which it may have carried one
    # into the word before. Every number from `least` to before `least + size` names the flips: the roundest is ours.
    carried = lower + 2**32 > 2**64
    least: int = (int.from_bytes(words[:position].astype(">u4").tobytes(), "big") - carried << 64) + lower
    for length in range(9):
        bits = 64 - 8 * length
        number = -(-least >> bits)
        if number << bits < least + size:
            break
    return number.to_bytes(4 * position + length, "big").rstrip(b"\0")


def _decode_body(body: bytes, broadcast: NDArray[np.int8], groups: Groups) -> NDArray[np.bool_] | None:
    """Return the signs that the body of a coded mask holds; None if it is not the one that `encode` writes of them."""
    chances = Chances(broadcast, groups)
    zeros = bytes(-len(body) % 4 + 8)
    coder = stream.queue.RangeDecoder(np.frombuffer(body + zeros, ">u4").astype(np.uint32))
    flips, of_steps = np.empty(len(broadcast), np.bool_), []
    for start, end in chances.steps:
        of_steps.append(chances.of(start, end))
        try:
            flips[start:end] = coder.decode(_FLIP, of_steps[-1] / SCALE)
        except Exception:  # constriction names none of its exceptions; it raises AssertionError
            return None
        chances.learn(flips[start:end])
    # A range decoder reads on past the end and does not see bytes left over: only coding again shows either.
    if _encode_flips(flips, of_steps) != body:
        return None
    signs = np.empty_like(flips)
    signs[chances.order] = flips
    signs ^= broadcast >= 0
    return signs


def _encode_varint(number: int) -> bytes:
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


def _check_shapes(broadcast: NDArray[np.int8], groups: Groups) -> None:
    if broadcast.ndim != 1 or groups.shape != broadcast.shape:
        raise ValueError(f"groups are {groups.shape} where the broadcast is {broadcast.shape}")
