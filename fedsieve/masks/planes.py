"""Masks of any alphabet on the wire: planes of bits, each a mask code.

A mask of k letters has k - 1 planes. Plane i holds a bit for each entry that is not below letter i: whether it is above
it. So the first plane has a bit for each entry, and the next one only for those whose bit was 1. A code is the planes'
mask codes (see `codec`), each but the last after its length in 4 bytes, little-endian; of two letters it is the mask
code alone. No code stands for an entry outside the alphabet.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedsieve.masks.codec import decode, encode, max_code_bytes
from fedsieve.masks.groups import Groups

_LENGTH_BYTES = 4


def encode_letters(letters: NDArray[np.uint8], levels: Sequence[NDArray[np.int8]], groups: Groups) -> NDArray[np.uint8]:
    """Return the code of a mask, at most `max_letters_bytes(n, k)` bytes, read-only.

    Args:
        letters: which letter each entry is, from 0 to k - 1, shape [n].
        levels: for each of the k - 1 planes how likely its bits are to be 1, from -127 to 127, shape [n] each.
        groups: the group of each entry, shape [n].

    Raises:
        ValueError: a letter is beyond the alphabet, or the shapes do not agree.
    """
    if letters.max(initial=0) > len(levels):
        raise ValueError(f"a mask of {len(levels) + 1} letters holds letter {letters.max()}")
    codes = []
    for plane, level in enumerate(levels):
        asked = letters >= plane
        code = encode((letters > plane)[asked], level[asked], groups[asked]).tobytes()
        last = plane == len(levels) - 1
        codes.append(code if last else len(code).to_bytes(_LENGTH_BYTES, "little") + code)
    return np.frombuffer(b"".join(codes), np.uint8)


def decode_letters(code: NDArray[np.uint8], levels: Sequence[NDArray[np.int8]], groups: Groups) -> NDArray[np.uint8]:
    """Return the letters of a code from an untrusted sender, shape [n].

    Args:
        code: what `encode_letters` returned for the same `levels` and `groups`.
        levels: for each plane, shape [n] each.
        groups: the group of each entry, shape [n].

    Raises:
        ValueError: it is anything else, one clause.
    """
    letters = np.zeros(len(groups), np.uint8)
    for plane, level in enumerate(levels):
        last = plane == len(levels) - 1
        here, code = (code, code[:0]) if last else _split_off_first(code)
        asked = letters == plane
        letters[asked] += decode(here, level[asked], groups[asked])
    return letters


def max_letters_bytes(n: int, k: int) -> int:
    """Return the size of the longest code of `n` entries of `k` letters."""
    return (k - 1) * max_code_bytes(n) + (k - 2) * _LENGTH_BYTES


def pack_letters(letters: NDArray[np.uint8], k: int) -> NDArray[np.uint8]:
    """Return letters as bits, eight in a byte: as many for each as `k` letters need; for a client's state."""
    return np.concatenate([np.packbits(letters >> place & 1) for place in range((k - 1).bit_length())])


def unpack_letters(packed: NDArray[np.uint8], n: int, k: int) -> NDArray[np.uint8]:
    """Return the `n` letters that `pack_letters` wrote."""
    places = packed.reshape((k - 1).bit_length(), -1)
    letters = np.zeros(n, np.uint8)
    for place, bits in enumerate(places):
        letters |= np.unpackbits(bits, count=n) << place
    return letters


def _split_off_first(code: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the first plane's code, and what is behind it."""
    if code.dtype != np.uint8 or code.ndim != 1:
        raise ValueError(f"mask code is {code.dtype} {code.shape} where uint8 of one dimension is expected")
    end = _LENGTH_BYTES + int.from_bytes(code[:_LENGTH_BYTES].tobytes(), "little")
    if len(code) < max(end, _LENGTH_BYTES):
        raise ValueError("mask code is cut off")
    return code[_LENGTH_BYTES:end], code[end:]
