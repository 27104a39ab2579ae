import math
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from constriction import stream
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedsieve.masks import contexts
from fedsieve.masks.codec import RAW, decode, encode, max_code_bytes

Mask = tuple[NDArray[np.bool_], NDArray[np.int8], list[int]]


def drawn(n: int, seed: int = 0, rate: Callable[[NDArray[np.float64]], object] = lambda certainty: 0.1) -> Mask:
    """A mask of two layers and its broadcast, |q| uniform; `rate` is the flips' of |q|/127."""
    generator = np.random.default_rng([seed, n])
    broadcast = generator.integers(-127, 128, n).astype(np.int8)
    flips = generator.random(n) < rate(np.abs(broadcast.astype(float)) / 127)
    return (broadcast >= 0) ^ flips, broadcast, [n - n // 3, n // 3]


@st.composite
def masks(draw: st.DrawFn, max_size: int = 300) -> Mask:
    """Any mask, any broadcast (-128 is none, but an int8) and any layers, empty ones included."""
    layer_sizes = draw(st.lists(st.integers(0, max_size // 6), max_size=6))
    n = sum(layer_sizes)
    levels = draw(st.sampled_from([[0], [127], [-128, 127], [-127, -51, 0, 51, 127], list(range(-127, 128))]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    broadcast = generator.choice(np.array(levels, np.int8), n)
    flips = generator.random(n) < draw(st.sampled_from([0, 0.01, 0.1, 0.5, 0.9, 1]))
    return (broadcast >= 0) ^ flips, broadcast, layer_sizes


def sealed(data: bytes) -> NDArray[np.uint8]:
    """The code of which `data` is all but the checksum, as an attacker would seal it."""
    return np.frombuffer(data + zlib.crc32(data).to_bytes(4, "little"), np.uint8)


def opened(code: NDArray[np.uint8]) -> bytearray:
    return bytearray(code.tobytes()[:-4])


def scheme_of(code: NDArray[np.uint8]) -> int:
    return int(code[0]) & 15


def array(data: bytes | bytearray) -> NDArray[np.uint8]:
    return np.frombuffer(bytes(data), np.uint8)


def model_bits(scheme: int, mask: Mask) -> tuple[float, int]:
    """The cross-entropy under the nearest of `LADDER` to each context, and how many contexts; entry by entry."""
    signs, broadcast, layer_sizes = mask
    of_layer = [layer for layer, size in enumerate(layer_sizes) for _ in range(size)]
    groups: dict[object, list[bool]] = defaultdict(list)
    for sign, q, layer in zip(signs.tolist(), broadcast.tolist(), of_layer, strict=True):
        bucket = min(abs(q) // 16, 7)
        key = {contexts.ONE: 0, contexts.BUCKETS: bucket, contexts.LAYERS: layer}.get(scheme, (layer, bucket))
        groups[key].append(sign != (q >= 0))
    total = 0.0
    for flips in groups.values():
        wanted = sum(flips) / len(flips) * 65536
        p = min(contexts.LADDER.tolist(), key=lambda k: abs(k - wanted)) / 65536
        total -= sum(math.log2(p if flip else 1 - p) for flip in flips)
    return total, len(groups)


def header_bytes(n: int, body: int) -> int:
    return 1 + sum(max(1, -(-number.bit_length() // 7)) for number in (n, body)) + 4


def assert_round_trip(mask: Mask) -> NDArray[np.uint8]:
    signs, broadcast, layer_sizes = mask
    code = encode(signs, broadcast, layer_sizes)
    assert code.dtype == np.uint8
    assert len(code) <= max_code_bytes(len(signs))
    back = decode(code, broadcast, layer_sizes)
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


def test_round_trip_of_many_layers() -> None:
    signs, broadcast, _ = drawn(70_000)
    for sizes in ([1] * 70_000, [7] * 10_000, [2188] * 31 + [2172], [2187] * 32 + [16], [70_000]):
        assert_round_trip((signs, broadcast, sizes))


@pytest.mark.parametrize("scheme", contexts.SCHEMES)
def test_each_scheme_is_chosen_where_it_is_the_model(scheme: int) -> None:
    rates = {
        contexts.ONE: lambda certainty, layer: 0.1 + 0 * certainty,
        contexts.BUCKETS: lambda certainty, layer: 0.5 - 0.48 * certainty,
        contexts.LAYERS: lambda certainty, layer: np.array([0.02, 0.3])[layer],
        contexts.LAYERS_AND_BUCKETS: lambda certainty, layer: np.array([0.1, 0.5])[layer] * (1 - 0.9 * certainty),
    }
    signs, broadcast, layer_sizes = drawn(
        30_000, rate=lambda certainty: rates[scheme](certainty, np.repeat([0, 1], [20_000, 10_000]))
    )
    code = assert_round_trip((signs, broadcast, layer_sizes))
    assert scheme_of(code) == scheme
    bits, _ = model_bits(scheme, (signs, broadcast, layer_sizes))
    flips = float((signs ^ (broadcast >= 0)).mean())
    order_0 = -30_000 * (flips * math.log2(flips) + (1 - flips) * math.log2(1 - flips))
    assert 8 * len(code) < 1.03 * bits
    assert 8 * len(code) < order_0 or scheme == contexts.ONE


def test_contexts_by_hand() -> None:
    broadcast = np.array([0, 16, 127, -128, -15, -16, 111, -112], np.int8)
    finest = contexts.finest(broadcast, [4, 0, 4])
    np.testing.assert_array_equal(finest, [0, 1, 7, 7, 16, 17, 22, 23])
    for scheme, sizes, order in (
        (contexts.ONE, [8], [0, 1, 2, 3, 4, 5, 6, 7]),
        (contexts.BUCKETS, [2, 2, 1, 3], [0, 4, 1, 5, 6, 2, 3, 7]),
        (contexts.LAYERS, [4, 4], [0, 1, 2, 3, 4, 5, 6, 7]),
        (contexts.LAYERS_AND_BUCKETS, [1, 1, 2, 1, 1, 1, 1], [0, 1, 2, 3, 4, 5, 6, 7]),
    ):
        found_order, found_sizes = contexts.group(scheme, finest)
        np.testing.assert_array_equal(found_order, order)
        np.testing.assert_array_equal(found_sizes, sizes)


@pytest.mark.parametrize("count", [31, 32, 33, 300, 8200])
def test_each_of_many_layers_is_a_context(count: int) -> None:
    finest = contexts.finest(np.full(count, 127, np.int8), [1] * count)
    np.testing.assert_array_equal(finest, np.arange(count) * 8 + 7)


def test_probabilities_are_the_nearest() -> None:
    finest = np.zeros(3, np.uint8)
    # A third is 21845.3 between 21504 and 22528, two thirds their mirror images; never and always are the ends.
    for flips, place, k in (
        ([1, 1, 0], 187, 44032),
        ([1, 0, 0], 165, 21504),
        ([1, 1, 1], 255, 64448),
        ([0, 0, 0], 0, 16),
    ):
        _, places = contexts.cheapest(np.array(flips, np.bool_), finest)
        assert places.dtype == np.uint8
        assert places.tolist() == [place]
        assert contexts.LADDER[place] == k


def test_each_context_has_the_nearest_probability() -> None:
    for size in (1, 2, 7, 997, 4096):
        finest = np.zeros(size, np.uint8)
        for ones in range(0, size + 1, max(1, size // 97)):
            scheme, places = contexts.cheapest(np.arange(size) < ones, finest)
            distances = np.abs(contexts.LADDER - 65536 * ones / size)
            assert (scheme, len(places)) == (contexts.ONE, 1)
            assert distances[places[0]] == distances.min()


def test_ladder_rises_in_small_steps_and_is_mirrored_at_a_half() -> None:
    ladder, half = contexts.LADDER, 176
    assert ladder.shape == (256,)
    assert (np.diff(ladder) > 0).all()
    assert (ladder[0], ladder[half], ladder[255]) == (16, 32768, 64448)
    np.testing.assert_array_equal(ladder[half:] + ladder[2 * half - 255 : half + 1][::-1], np.full(80, 65536))
    assert (16 * ladder[1 : half + 1] <= 17 * ladder[:half]).all()


def test_ladder_costs_next_to_nothing() -> None:
    n = 20_000
    finest = np.zeros(n, np.uint8)
    for ones in np.unique(np.geomspace(n // 1000, n // 2, 500).astype(int)).tolist():
        p = ones / n
        ideal = -n * (p * math.log2(p) + (1 - p) * math.log2(1 - p))
        _, places = contexts.cheapest(np.arange(n) < ones, finest)
        # Gibbs: none is below the ideal, but for floating point.
        assert ideal * (1 - 1e-9) <= contexts.bits(np.array([ones]), np.array([n]), places) < 1.001 * ideal


def test_bits_by_hand() -> None:
    quarter, half = 160, 176
    bits = contexts.bits(np.array([3, 5]), np.array([3, 9]), np.array([quarter, half], np.uint8))
    assert bits == 3 * 2 + 9


def test_contexts_that_do_not_occur_cost_nothing() -> None:
    """Ten clients have 6 levels of |q|, of which none is in the buckets 2 and 5; layer 1 is empty."""
    signs, broadcast, _ = drawn(20_000, rate=lambda certainty: 0.5 - 0.48 * (certainty * 5).round() / 5)
    level = np.round(np.abs(broadcast) / 25.4) * 25.4
    few = np.where(broadcast < 0, -level, level).astype(np.int8)
    signs ^= (few >= 0) ^ (broadcast >= 0)
    assert scheme_of(assert_round_trip((signs, few, [20_000]))) == contexts.BUCKETS
    signs, broadcast, _ = drawn(20_000, rate=lambda certainty: np.repeat([0.05, 0.4], 10_000))
    assert scheme_of(assert_round_trip((signs, broadcast, [10_000, 0, 10_000]))) == contexts.LAYERS


@given(masks(3_000))
def test_size_is_that_of_the_cheapest_model_and_its_header(mask: Mask) -> None:
    code = assert_round_trip(mask)
    n = len(mask[0])
    coded = []
    for scheme in contexts.SCHEMES:
        bits, count = model_bits(scheme, mask)
        body = bits / 8 + count
        coded.append(header_bytes(n, math.ceil(body) + 8) + body)
        if scheme_of(code) == scheme:
            assert len(code) >= header_bytes(n, math.floor(body)) + math.floor(body)
    # The coder ends on a whole word, 4 bytes at most beyond the bits, and loses next to nothing before.
    assert len(code) <= min(*coded, max_code_bytes(n)) * 1.001 + 5


def test_noise_is_sent_as_it_is() -> None:
    signs, broadcast, layer_sizes = drawn(10_001, rate=lambda certainty: 0.5)
    code = assert_round_trip((signs, broadcast, layer_sizes))
    assert (scheme_of(code), len(code)) == (RAW, max_code_bytes(10_001))
    assert len(code) == 1251 + 9
    np.testing.assert_array_equal(code[5:-4], np.packbits(signs))


@pytest.mark.parametrize(("n", "size"), [(0, 7), (1, 8), (127, 23), (128, 24), (1_000_000, 125_011)])
def test_max_code_bytes(n: int, size: int) -> None:
    assert max_code_bytes(n) == size


def test_code_by_hand() -> None:
    # Version 1, scheme 0, 1000 = 7·128 + 104, 5 bytes of body: 16/65536, and a word 0, the interval's lower end.
    expected = sealed(bytes.fromhex("10 e8 07 05 00 00 00 00 00"))
    signs, broadcast = np.ones(1000, np.bool_), np.full(1000, 127, np.int8)
    np.testing.assert_array_equal(encode(signs, broadcast, [1000]), expected)
    np.testing.assert_array_equal(decode(expected, broadcast, [1000]), signs)


def test_raw_code_by_hand() -> None:
    signs, broadcast = np.array([True, False, True]), np.zeros(3, np.int8)
    expected = sealed(bytes.fromhex("14 03 01 a0"))
    np.testing.assert_array_equal(encode(signs, broadcast, [3]), expected)
    np.testing.assert_array_equal(decode(expected, broadcast, [3]), signs)


def test_code_stays_readable() -> None:
    # A code written on 2026-11-23 with constriction 0.5.0: clients and servers of other versions must agree.
    i = np.arange(400)
    broadcast = (i * 37 % 255 - 127).astype(np.int8)
    signs = (broadcast >= 0) ^ (i * i % 11 < 1)
    code = bytes.fromhex("1090031988e4146cf014a3d7cf00ad9708a6fcd69c4152c24f1d41884910a3831f")
    np.testing.assert_array_equal(encode(signs, broadcast, [300, 100]), array(code))
    np.testing.assert_array_equal(decode(array(code), broadcast, [300, 100]), signs)


def test_sizes_that_disagree() -> None:
    signs, broadcast, _ = drawn(10)
    with pytest.raises(ValueError, match=r"^layers hold 9 entries where the broadcast is \(10,\)$"):
        encode(signs, broadcast, [9])
    with pytest.raises(ValueError, match=r"^signs are \(9,\) where the broadcast is \(10,\)$"):
        encode(signs[:9], broadcast, [10])
    with pytest.raises(ValueError, match=r"layers hold 11 entries"):
        decode(encode(signs, broadcast, [10]), broadcast, [11])


CODED = drawn(2000)
NOISE = drawn(2001, rate=lambda certainty: 0.5)


@pytest.mark.parametrize(("mask", "scheme"), [(CODED, contexts.ONE), (NOISE, RAW)], ids=["coded", "raw"])
class TestDamage:
    def test_cut_off_anywhere(self, mask: Mask, scheme: int) -> None:
        code = encode(*mask)
        assert code[0] == 16 + scheme
        for length in range(len(code)):
            with pytest.raises(ValueError, match=r"^mask code is cut off$"):
                decode(code[:length], *mask[1:])

    def test_a_bit_turned_anywhere(self, mask: Mask, scheme: int) -> None:
        bits = np.unpackbits(encode(*mask))
        for place in range(len(bits)):
            turned = bits.copy()
            turned[place] ^= 1
            with pytest.raises(ValueError, match=r"^mask code"):
                decode(np.packbits(turned), *mask[1:])

    def test_a_byte_of_the_body_changed(self, mask: Mask, scheme: int) -> None:
        code = encode(*mask).copy()
        code[20] += 1
        with pytest.raises(ValueError, match=r"^mask code's checksum does not match$"):
            decode(code, *mask[1:])

    @pytest.mark.parametrize(
        ("place", "value", "clause"),
        [
            (0, 0x01, "is of version 0 where 1 is expected"),
            (0, 0x20, "is of version 2 where 1 is expected"),
            (0, 0xFF, "is of version 15 where 1 is expected"),
            (0, 0x15, "is of unknown scheme 5"),
            (0, 0x1F, "is of unknown scheme 15"),
            (1, 0xCF, f"holds {15 * 128 + 0x4F} signs where 200[01] are expected"),
        ],
    )
    def test_header(self, mask: Mask, scheme: int, place: int, value: int, clause: str) -> None:
        data = opened(encode(*mask))
        data[place] = value
        with pytest.raises(ValueError, match=f"^mask code {clause}$"):
            decode(sealed(data), *mask[1:])


def test_too_many_bytes() -> None:
    code = np.zeros(max_code_bytes(100) + 1, np.uint8)
    with pytest.raises(ValueError, match=r"^mask code has 21 bytes where at most 20 are taken$"):
        decode(code, np.zeros(100, np.int8), [100])


def test_bytes_left_over() -> None:
    with pytest.raises(ValueError, match=r"^mask code has bytes left over$"):
        decode(sealed(bytes(opened(encode(*CODED))) + b"\0"), *CODED[1:])


@pytest.mark.parametrize("wrong", [-1, 1])
def test_code_of_another_length(wrong: int) -> None:
    n = 2000 + wrong
    with pytest.raises(ValueError, match=f"^mask code holds 2000 signs where {n} are expected$"):
        decode(encode(*CODED), np.zeros(n, np.int8), [n])


def test_huge_numbers_of_signs() -> None:
    for number, clause in (("ff" * 8 + "7f", f"holds {2**63 - 1} signs"), ("ff" * 100, "has an overlong number")):
        with pytest.raises(ValueError, match=f"^mask code {clause}"):
            decode(sealed(bytes.fromhex("10" + number)), *CODED[1:])


def test_number_with_zeros_before_it() -> None:
    with pytest.raises(ValueError, match=r"^mask code has an overlong number$"):
        decode(sealed(bytes.fromhex("10 e8 87 00 05 00 00 00 00 00")), np.full(1000, 127, np.int8), [1000])


def test_what_is_no_vector_of_bytes() -> None:
    code = encode(*CODED)
    for wrong in (code.astype(np.int8), code.astype(np.float64), code[None], code[0, None, None]):
        with pytest.raises(ValueError, match=r"where uint8 of one dimension is expected$"):
            decode(wrong, *CODED[1:])


def body_of(data: Iterable[int], mask: Mask, scheme: int = contexts.ONE) -> NDArray[np.uint8]:
    """A code of `mask`'s length, below 16,384, with this body."""
    body, n = bytes(data), len(mask[0])
    lengths = b"".join(bytes((m & 127 | 128, m >> 7)) if m > 127 else bytes((m,)) for m in (n, len(body)))
    return sealed(bytes((1 << 4 | scheme,)) + lengths + body)


def test_bodies_that_no_encoder_writes() -> None:
    code = encode(*CODED)
    body = code.tobytes()[4:-4]
    np.testing.assert_array_equal(body_of(body, CODED), code)
    for wrong, clause in (
        (b"", "'s body of 0 bytes is not 1 probabilities and whole words"),
        (body[:2], "'s body of 2 bytes is not 1 probabilities and whole words"),
        (body[:-1], f"'s body of {len(body) - 1} bytes is not 1 probabilities and whole words"),
        (body + b"\1\0\0\0", "'s words are not those of its signs"),
        (body + b"\0\0\0\0", "'s words are not those of its signs"),
        (body[:-4], "'s words are not those of its signs"),
        (b"\0" + b"\xff" * 40, "'s words are not a range coder's"),
    ):
        with pytest.raises(ValueError, match=f"^mask code{clause}$"):
            decode(body_of(wrong, CODED), *CODED[1:])


def test_every_byte_is_a_flip_probability() -> None:
    """A sender may choose other probabilities than `encode` does: here for ten entries of which every other flips."""
    layer_sizes = [490, 10]
    broadcast = np.full(500, 127, np.int8)
    flips = np.repeat([0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0], [490] + [1] * 10).astype(np.int32)
    for place, k in enumerate(contexts.LADDER.tolist()):
        coder = stream.queue.RangeEncoder()
        coder.encode(flips[:490], stream.model.Bernoulli(16 / 65536, perfect=False))
        coder.encode(flips[490:], stream.model.Bernoulli(k / 65536, perfect=False))
        body = bytes((0, place)) + coder.get_compressed().astype("<u4").tobytes()
        code = body_of(body, (flips == 0, broadcast, layer_sizes), contexts.LAYERS)
        np.testing.assert_array_equal(decode(code, broadcast, layer_sizes), flips == 0)


def test_raw_bodies_that_no_encoder_writes() -> None:
    body = encode(*NOISE).tobytes()[5:-4]
    with pytest.raises(ValueError, match=r"^mask code packs 2001 signs in 250 bytes$"):
        decode(body_of(body[:-1], NOISE, RAW), *NOISE[1:])
    with pytest.raises(ValueError, match=r"^mask code's padding is not zero$"):
        decode(body_of((*body[:-1], body[-1] | 1), NOISE, RAW), *NOISE[1:])


@given(masks(), st.data())
def test_sealed_mutants_give_signs_or_a_value_error(mask: Mask, data: st.DataObject) -> None:
    broadcast, layer_sizes = mask[1:]
    mutant = opened(encode(*mask))
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
    assert_signs_or_value_error(sealed(mutant), broadcast, layer_sizes)


@given(masks(), st.sampled_from([*contexts.SCHEMES, RAW]), st.binary(max_size=60))
def test_any_body_gives_signs_or_a_value_error(mask: Mask, scheme: int, body: bytes) -> None:
    assert_signs_or_value_error(body_of(body, mask, scheme), *mask[1:])


def assert_signs_or_value_error(code: NDArray[np.uint8], broadcast: NDArray[np.int8], layer_sizes: list[int]) -> None:
    refusal = ""
    try:
        signs = decode(code, broadcast, layer_sizes)
    except ValueError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith("mask code")
    else:
        assert (signs.dtype, signs.shape) == (np.bool_, broadcast.shape)
