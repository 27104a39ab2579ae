import math
import zlib
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from constriction import stream
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedsieve.masks.chances import SCALE, Chances
from fedsieve.masks.codec import CODED, RAW, _encode_flips, decode, encode, max_code_bytes

Mask = tuple[NDArray[np.bool_], NDArray[np.int8], NDArray[np.uint8]]

HEADER = 0x20
DAMAGED = r"^mask code's checksum does not match: it is cut off, altered, or of another broadcast$"


def drawn(n: int, seed: int = 0, rate: Callable[[NDArray[np.float64]], object] = lambda certainty: 0.1) -> Mask:
    """A mask of 20 groups and its broadcast, |q| uniform; `rate` is the flips' of |q|/127."""
    generator = np.random.default_rng([seed, n])
    broadcast = generator.integers(-127, 128, n).astype(np.int8)
    flips = generator.random(n) < rate(np.abs(broadcast.astype(float)) / 127)
    return (broadcast >= 0) ^ flips, broadcast, (np.arange(n) * 20 // max(n, 1)).astype(np.uint8)


@st.composite
def masks(draw: st.DrawFn, max_size: int = 300) -> Mask:
    """Any mask, any broadcast (-128 is none, but an int8) and any groups."""
    n = draw(st.integers(0, max_size))
    levels = draw(st.sampled_from([[0], [127], [-128, 127], [-127, -51, 0, 51, 127], list(range(-127, 128))]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    broadcast = generator.choice(np.array(levels, np.int8), n)
    groups = generator.integers(0, draw(st.sampled_from([1, 2, 50, 256])), n).astype(np.uint8)
    flips = generator.random(n) < draw(st.sampled_from([0, 0.01, 0.1, 0.5, 0.9, 1]))
    return (broadcast >= 0) ^ flips, broadcast, groups


def varint(number: int) -> bytes:
    return bytes((number & 127 | 128, number >> 7)) if number > 127 else bytes((number,))


def sealed(body: bytes | Iterable[int], signs: NDArray[np.bool_], scheme: int = CODED) -> NDArray[np.uint8]:
    """A code of `signs`, fewer than 16,384, with this body, as an attacker would seal it."""
    header = bytes((HEADER | scheme,)) + varint(len(signs))
    checksum = zlib.crc32(header + np.packbits(signs).tobytes()) & 0xFFFFFF
    return array(header + bytes(body) + checksum.to_bytes(3, "little"))


def array(data: bytes | bytearray) -> NDArray[np.uint8]:
    return np.frombuffer(bytes(data), np.uint8)


def body_of(code: NDArray[np.uint8], n: int) -> bytes:
    return code.tobytes()[1 + len(varint(n)) : -3]


def scheme_of(code: NDArray[np.uint8]) -> int:
    return int(code[0]) & 15


def model_bytes(mask: Mask) -> float:
    """The cross-entropy of the flips under the chances that are learnt from them."""
    signs, broadcast, groups = mask
    chances, bits = Chances(broadcast, groups), 0.0
    flips = (signs ^ (broadcast >= 0))[chances.order]
    for start, end in chances.steps:
        p = chances.of(start, end) / SCALE
        bits -= float(np.log2(np.where(flips[start:end], p, 1 - p)).sum())
        chances.learn(flips[start:end])
    return bits / 8


def order_0_bytes(mask: Mask) -> float:
    rate = float((mask[0] ^ (mask[1] >= 0)).mean())
    return -len(mask[0]) * (rate * math.log2(rate) + (1 - rate) * math.log2(1 - rate)) / 8


def assert_round_trip(mask: Mask) -> NDArray[np.uint8]:
    signs, broadcast, groups = mask
    code = encode(signs, broadcast, groups)
    assert code.dtype == np.uint8
    assert len(code) <= max_code_bytes(len(signs))
    back = decode(code, broadcast, groups)
    assert back.dtype == np.bool_
    np.testing.assert_array_equal(back, signs)
    return code


@given(masks())
def test_round_trip(mask: Mask) -> None:
    assert_round_trip(mask)


def test_round_trip_of_every_length() -> None:
    for n in range(300):
        for rate in (0.0, 0.1, 0.5, 1.0):
            assert_round_trip(drawn(n, rate=lambda _, rate=rate: rate))


@pytest.mark.parametrize("count", [1, 7, 2188, 35_000, 70_000])
def test_round_trip_of_many_groups(count: int) -> None:
    signs, broadcast, _ = drawn(70_000)
    groups = np.arange(70_000) % count
    for dtype in (np.min_scalar_type(count), np.int64):
        assert_round_trip((signs, broadcast, groups.astype(dtype)))


RATES: list[Callable[[NDArray[np.float64], NDArray[np.intp]], object]] = [
    lambda certainty, group: 0.5 - 0.48 * certainty,
    lambda certainty, group: np.linspace(0.02, 0.8, 20)[group],
    lambda certainty, group: np.linspace(0.02, 0.8, 20)[group] * (1 - 0.9 * certainty),
]


@pytest.mark.parametrize("rate", RATES, ids=["by the broadcast", "by the group", "by both"])
def test_what_foretells_flips_makes_codes_shorter(rate: Callable[..., object]) -> None:
    group = np.arange(30_000) * 20 // 30_000
    mask = drawn(30_000, rate=lambda certainty: rate(certainty, group))
    code = assert_round_trip(mask)
    assert len(code) < 0.92 * order_0_bytes(mask)
    # and to within 3 % of what the very rates that the flips were drawn with would cost
    p = np.asarray(rate(np.abs(mask[1].astype(float)) / 127, group))
    flips = mask[0] ^ (mask[1] >= 0)
    assert 8 * len(code) < 1.03 * -np.log2(np.where(flips, p, 1 - p)).sum()


def test_learning_that_nothing_foretells_flips_costs_little() -> None:
    mask = drawn(30_000)
    assert len(assert_round_trip(mask)) < 1.02 * order_0_bytes(mask)


@given(masks(3_000))
def test_size_is_that_of_the_model_and_its_frame(mask: Mask) -> None:
    code = assert_round_trip(mask)
    frame = 1 + len(varint(len(mask[0]))) + 3
    # The coder ends on a whole byte, at most two beyond the bits, and loses next to nothing before.
    assert len(code) <= min(frame + 1.001 * model_bytes(mask) + 2, max_code_bytes(len(mask[0])))


def test_noise_is_sent_as_it_is() -> None:
    code = assert_round_trip(drawn(10_001, rate=lambda certainty: 0.5))
    assert (scheme_of(code), len(code)) == (RAW, max_code_bytes(10_001))
    assert len(code) == 1251 + 6
    np.testing.assert_array_equal(code[3:-3], np.packbits(drawn(10_001, rate=lambda certainty: 0.5)[0]))


@pytest.mark.parametrize(("n", "size"), [(0, 5), (1, 6), (127, 21), (128, 22), (1_000_000, 125_007)])
def test_max_code_bytes(n: int, size: int) -> None:
    assert max_code_bytes(n) == size


def test_code_by_hand() -> None:
    # Version 2, scheme 0, 1000 = 7·128 + 104, and no byte of body: zeros without end, the interval's lower end.
    signs, broadcast, groups = np.ones(1000, np.bool_), np.full(1000, 127, np.int8), np.zeros(1000, np.uint8)
    header = bytes.fromhex("20 e8 07")
    expected = array(header + zlib.crc32(header + b"\xff" * 125).to_bytes(4, "little")[:3])
    np.testing.assert_array_equal(encode(signs, broadcast, groups), expected)
    np.testing.assert_array_equal(decode(expected, broadcast, groups), signs)


def test_raw_code_by_hand() -> None:
    signs, broadcast, groups = np.array([True, False, True]), np.zeros(3, np.int8), np.zeros(3, np.uint8)
    data = bytes.fromhex("21 03 a0")
    expected = array(data + zlib.crc32(data).to_bytes(4, "little")[:3])
    np.testing.assert_array_equal(encode(signs, broadcast, groups), expected)
    np.testing.assert_array_equal(decode(expected, broadcast, groups), signs)


def test_code_stays_readable() -> None:
    # A code written on 2026-11-24 with constriction 0.5.0: clients and servers of other versions must agree.
    i = np.arange(400)
    broadcast, groups = (i * 37 % 255 - 127).astype(np.int8), (i // 50).astype(np.uint8)
    signs = (broadcast >= 0) ^ (i * i % 11 < 1)
    code = bytes.fromhex("209003800087f8f52ebdedf6525da278f129220bbdfa71e70784dfef305ad306")
    np.testing.assert_array_equal(encode(signs, broadcast, groups), array(code))
    np.testing.assert_array_equal(decode(array(code), broadcast, groups), signs)


def decoded(body: bytes, n: int, p: float) -> list[int] | None:
    """What a range decoder reads in `body`, zeros following; None if it refuses that."""
    words = np.frombuffer(body + bytes(-len(body) % 4 + 8), ">u4").astype(np.uint32)
    coder, model = stream.queue.RangeDecoder(words), stream.model.Bernoulli(perfect=False)
    try:
        found: list[int] = coder.decode(model, np.full(n, p)).tolist()
    except AssertionError:
        return None
    return found


@pytest.mark.parametrize("k", [1, 100_000, SCALE // 2, SCALE - 1])
def test_no_shorter_body_names_the_flips(k: int) -> None:
    generator = np.random.default_rng(k)
    for n in range(1, 120):
        flips = generator.random(n) < k / SCALE
        body = _encode_flips(flips, [np.full(n, k)])
        assert decoded(body, n, k / SCALE) == flips.tolist()
        # The best shorter one is the body's beginning, or the next number of its length.
        beginning = int.from_bytes(body[:-1], "big")
        for shorter in (beginning, beginning + 1):
            if body and shorter < 256 ** (len(body) - 1):
                assert decoded(shorter.to_bytes(len(body) - 1, "big"), n, k / SCALE) != flips.tolist()


def test_an_ending_that_carries_into_the_words_before() -> None:
    """The coder's interval then begins in the last 2^32 of its 2^64, and its own ending has carried."""
    generator, carried = np.random.default_rng(0), 0
    for first in generator.integers(2**32, size=100).tolist():
        words = np.array([first, 2**32 - 1, 2**31], ">u4")
        all_flips = np.array(decoded(words.tobytes(), 72, 0.25), np.bool_)
        for n in range(50, 73):
            coder = stream.queue.RangeEncoder()
            coder.encode(all_flips[:n].astype(np.int32), stream.model.Bernoulli(perfect=False), np.full(n, 0.25))
            carried += coder.pos()[1][0] + 2**32 > 2**64
            body = _encode_flips(all_flips[:n], [np.full(n, SCALE // 4)])
            assert decoded(body, n, 0.25) == all_flips[:n].tolist()
    assert carried > 0


def test_shapes_that_disagree() -> None:
    signs, broadcast, groups = drawn(10)
    with pytest.raises(ValueError, match=r"^groups are \(9,\) where the broadcast is \(10,\)$"):
        encode(signs, broadcast, groups[:9])
    with pytest.raises(ValueError, match=r"^signs are \(9,\) where the broadcast is \(10,\)$"):
        encode(signs[:9], broadcast, groups)
    with pytest.raises(ValueError, match=r"^groups are \(9,\) where the broadcast is \(10,\)$"):
        decode(encode(signs, broadcast, groups), broadcast, groups[:9])


MOSTLY = drawn(2000)
NOISE = drawn(2001, rate=lambda certainty: 0.5)


@pytest.mark.parametrize(("mask", "scheme"), [(MOSTLY, CODED), (NOISE, RAW)], ids=["coded", "raw"])
class TestDamage:
    def test_cut_off_anywhere(self, mask: Mask, scheme: int) -> None:
        code = encode(*mask)
        assert code[0] == HEADER + scheme
        for length in range(len(code)):
            with pytest.raises(ValueError, match=r"^mask code is cut off$" if length < 6 else DAMAGED):
                decode(code[:length], *mask[1:])

    def test_a_bit_turned_anywhere(self, mask: Mask, scheme: int) -> None:
        bits = np.unpackbits(encode(*mask))
        for place in range(len(bits)):
            turned = bits.copy()
            turned[place] ^= 1
            with pytest.raises(ValueError, match=r"^mask code" if place < 24 else DAMAGED):
                decode(np.packbits(turned), *mask[1:])

    def test_another_broadcast(self, mask: Mask, scheme: int) -> None:
        """Raw signs need none; those that are coded are not the ones that were sent."""
        code, other = encode(*mask), mask[1] // 2
        if scheme == RAW:
            np.testing.assert_array_equal(decode(code, other, mask[2]), mask[0])
        else:
            with pytest.raises(ValueError, match=DAMAGED):
                decode(code, other, mask[2])
            with pytest.raises(ValueError, match=DAMAGED):
                decode(code, mask[1], mask[2][::-1])

    @pytest.mark.parametrize(
        ("place", "value", "clause"),
        [
            (0, 0x01, "is of version 0 where 2 is expected"),
            (0, 0x10, "is of version 1 where 2 is expected"),
            (0, 0xFF, "is of version 15 where 2 is expected"),
            (0, 0x22, "is of unknown scheme 2"),
            (0, 0x2F, "is of unknown scheme 15"),
            (1, 0xCF, f"holds {15 * 128 + 0x4F} signs where 200[01] are expected"),
        ],
    )
    def test_header(self, mask: Mask, scheme: int, place: int, value: int, clause: str) -> None:
        code = encode(*mask).copy()
        code[place] = value
        with pytest.raises(ValueError, match=f"^mask code {clause}$"):
            decode(code, *mask[1:])


def test_too_many_bytes() -> None:
    code = np.zeros(max_code_bytes(100) + 1, np.uint8)
    with pytest.raises(ValueError, match=r"^mask code has 19 bytes where at most 18 are taken$"):
        decode(code, np.zeros(100, np.int8), np.zeros(100, np.uint8))


@pytest.mark.parametrize("wrong", [-1, 1])
def test_code_of_another_length(wrong: int) -> None:
    n = 2000 + wrong
    with pytest.raises(ValueError, match=f"^mask code holds 2000 signs where {n} are expected$"):
        decode(encode(*MOSTLY), np.zeros(n, np.int8), np.zeros(n, np.uint8))


def test_huge_numbers_of_signs() -> None:
    for number, clause in (("ff" * 8 + "7f", f"holds {2**63 - 1} signs"), ("ff" * 100, "has an overlong number")):
        with pytest.raises(ValueError, match=f"^mask code {clause}"):
            decode(array(bytes.fromhex("20" + number)), *MOSTLY[1:])


def test_number_with_zeros_before_it() -> None:
    with pytest.raises(ValueError, match=r"^mask code has an overlong number$"):
        decode(array(bytes.fromhex("20 d0 8f 00 00 00 00 00")), *MOSTLY[1:])


def test_what_is_no_vector_of_bytes() -> None:
    code = encode(*MOSTLY)
    for wrong in (code.astype(np.int8), code.astype(np.float64), code[None], code[0, None, None]):
        with pytest.raises(ValueError, match=r"where uint8 of one dimension is expected$"):
            decode(wrong, *MOSTLY[1:])


def test_bodies_that_no_encoder_writes() -> None:
    signs = MOSTLY[0]
    code = encode(*MOSTLY)
    body = body_of(code, 2000)
    np.testing.assert_array_equal(sealed(body, signs), code)
    # The last byte may be one more and still name the same flips; so may bytes that follow it.
    for wrong in (b"", body[:-1], body + b"\1", body + b"\0", body[:-1] + bytes((body[-1] + 1,)), b"\xff" * 200):
        with pytest.raises(ValueError, match=DAMAGED):
            decode(sealed(wrong, signs), *MOSTLY[1:])


def test_raw_bodies_that_no_encoder_writes() -> None:
    signs = NOISE[0]
    body = np.packbits(signs).tobytes()
    np.testing.assert_array_equal(sealed(body, signs, RAW), encode(*NOISE))
    for wrong in (body[:-1], (*body[:-1], body[-1] | 1)):
        with pytest.raises(ValueError, match=DAMAGED):
            decode(sealed(wrong, signs, RAW), *NOISE[1:])
    longer = sealed(body + b"\0", signs, RAW)
    with pytest.raises(ValueError, match=r"^mask code has 258 bytes where at most 257 are taken$"):
        decode(longer, *NOISE[1:])


def test_another_choice_of_scheme_is_taken() -> None:
    signs = MOSTLY[0]
    code = sealed(np.packbits(signs).tobytes(), signs, RAW)
    np.testing.assert_array_equal(decode(code, *MOSTLY[1:]), signs)


@given(masks(), st.data())
def test_mutants_give_signs_or_a_value_error(mask: Mask, data: st.DataObject) -> None:
    mutant = bytearray(encode(*mask).tobytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, max(0, len(mutant) - 1)))
        match data.draw(st.sampled_from(["set", "insert", "delete", "fill"])):
            case "set":
                mutant[place : place + 1] = bytes((data.draw(st.integers(0, 255)),))
            case "insert":
                mutant[place:place] = data.draw(st.binary(max_size=8))
            case "delete":
                del mutant[place : place + data.draw(st.integers(1, 8))]
            case "fill":
                mutant[place:] = data.draw(st.sampled_from([b"\0", b"\xff"])) * (len(mutant) - place)
    assert_signs_or_value_error(array(mutant), *mask[1:])


@given(masks(), st.sampled_from([CODED, RAW]), st.binary(max_size=60))
def test_any_body_gives_the_sealed_signs_or_a_value_error(mask: Mask, scheme: int, body: bytes) -> None:
    """Also one whose checksum is that of the signs it may hold."""
    assert_signs_or_value_error(sealed(body, mask[0], scheme), *mask[1:])


def assert_signs_or_value_error(
    code: NDArray[np.uint8], broadcast: NDArray[np.int8], groups: NDArray[np.uint8]
) -> None:
    refusal = ""
    try:
        signs = decode(code, broadcast, groups)
    except ValueError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith("mask code")
    else:
        assert (signs.dtype, signs.shape) == (np.bool_, broadcast.shape)
