import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedsieve.masks.codec import encode
from fedsieve.masks.planes import decode_letters, encode_letters, max_letters_bytes, pack_letters, unpack_letters

Case = tuple[NDArray[np.uint8], list[NDArray[np.int8]], NDArray[np.uint8], int]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Return letters, levels of each plane, groups, and the size of the alphabet."""
    k, n = draw(st.integers(2, 5)), draw(st.integers(0, 300))
    random = np.random.RandomState(draw(st.integers(0, 999)))
    skew = draw(st.sampled_from([1.0, 4.0, 50.0]))
    letters = (k * random.random_sample(n) ** skew).astype(np.uint8)
    levels = [random.randint(-127, 128, n).astype(np.int8) for _ in range(k - 1)]
    return letters, levels, random.randint(0, 4, n).astype(np.uint8), k


@given(cases())
def test_letters_come_out_as_they_went_in(case: Case):
    letters, levels, groups, k = case
    code = encode_letters(letters, levels, groups)
    assert len(code) <= max_letters_bytes(len(letters), k)
    assert np.array_equal(decode_letters(code, levels, groups), letters)
    assert np.array_equal(unpack_letters(pack_letters(letters, k), len(letters), k), letters)


@given(cases())
def test_two_letters_are_one_mask_code(case: Case):
    letters, levels, groups, _ = case
    bits = letters > 0
    assert (
        encode_letters(bits.astype(np.uint8), levels[:1], groups).tolist() == encode(bits, levels[0], groups).tolist()
    )
    assert pack_letters(bits.astype(np.uint8), 2).tolist() == np.packbits(bits).tolist()


def ternary(n: int = 200) -> tuple[NDArray[np.uint8], list[NDArray[np.int8]], NDArray[np.uint8]]:
    random = np.random.RandomState(1)
    return random.randint(0, 3, n).astype(np.uint8), [np.zeros(n, np.int8)] * 2, np.zeros(n, np.uint8)


def test_a_second_plane_has_bits_only_for_entries_above_the_first_letter():
    letters, levels, groups = ternary(3000)
    size = len(encode_letters(letters, levels, groups))
    # a bit an entry and another for two of three, packed, beside the frames
    bits = 3000 + np.count_nonzero(letters)
    assert 0.95 * bits / 8 <= size <= bits / 8 + 20
    lowest = np.zeros(3000, np.uint8)
    assert len(encode_letters(lowest, [np.full(3000, -127, np.int8)] * 2, groups)) < 40


@pytest.mark.parametrize("bit", range(0, 8 * 56, 7))
def test_an_altered_code_is_not_taken(bit: int):
    letters, levels, groups = ternary()
    code = encode_letters(letters, levels, groups).copy()
    code[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ValueError, match=r"^mask code"):
        decode_letters(code, levels, groups)


def test_a_code_that_is_cut_off_or_too_long_is_not_taken():
    letters, levels, groups = ternary()
    code = encode_letters(letters, levels, groups)
    for length in range(len(code)):
        with pytest.raises(ValueError, match=r"^mask code"):
            decode_letters(code[:length], levels, groups)
    with pytest.raises(ValueError, match=r"^mask code"):
        decode_letters(np.concatenate([code, code[:1]]), levels, groups)


def test_a_code_of_more_letters_is_not_taken_as_one_of_two():
    letters, levels, groups = ternary()
    with pytest.raises(ValueError, match=r"^mask code"):
        decode_letters(encode_letters(letters, levels, groups), levels[:1], groups)
    with pytest.raises(ValueError, match=r"^mask code"):
        decode_letters(encode_letters(letters % 2, levels[:1], groups), levels, groups)


def test_a_letter_beyond_the_alphabet_is_not_written():
    letters, levels, groups = ternary()
    with pytest.raises(ValueError, match="a mask of 2 letters holds letter 2"):
        encode_letters(letters, levels[:1], groups)


def test_another_type_is_not_taken():
    _, levels, groups = ternary()
    with pytest.raises(ValueError, match=r"^mask code is float32 \(3,\) where uint8"):
        decode_letters(np.zeros(3, np.float32), levels, groups)  # type: ignore[arg-type]
