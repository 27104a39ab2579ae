import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedsieve.masks.survivors import Survivors

KEEP = {
    "a": torch.tensor([[True, False, True], [False, False, True]]),
    "b": torch.tensor([[[True], [False]]]),
    "c": torch.tensor([[False, True]]),
}
SHAPES = {"a": (2, 3), "b": (1, 2, 1), "c": (1, 2)}


def test_survivors_are_counted_by_layer():
    survivors = Survivors(KEEP)
    assert survivors.layer_sizes == [3, 1, 1]
    assert survivors.density == 5 / 10


def test_a_vector_goes_layer_after_layer_each_row_by_row():
    survivors, vector = Survivors(KEEP), torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    parts = {name: part.tolist() for name, part in survivors.by_layer(vector).items()}
    assert parts == {"a": [1, 2, 3], "b": [4], "c": [5]}
    scattered = {name: tensor.tolist() for name, tensor in survivors.scatter(vector).items()}
    assert scattered == {"a": [[1, 0, 2], [0, 0, 3]], "b": [[[4], [0]]], "c": [[0, 5]]}


def test_what_is_scattered_has_the_vectors_type_and_leaves_it_alone():
    survivors, vector = Survivors(KEEP), torch.arange(1, 6, dtype=torch.int8)
    scattered = survivors.scatter(vector)
    assert {tensor.dtype for tensor in scattered.values()} == {torch.int8}
    scattered["a"].zero_()
    assert vector.tolist() == [1, 2, 3, 4, 5]


def test_a_layer_may_lose_all_its_weights():
    survivors = Survivors({"a": torch.zeros(2, 2, dtype=torch.bool), "b": torch.ones(1, 2, dtype=torch.bool)})
    assert survivors.layer_sizes == [0, 2]
    assert survivors.scatter(torch.tensor([1.0, 2.0]))["a"].tolist() == [[0, 0], [0, 0]]


def test_a_vector_of_another_length_is_an_error():
    for length in (4, 6):
        with pytest.raises(ValueError, match=f"^a vector of {length} entries where 5 are expected$"):
            Survivors(KEEP).by_layer(torch.zeros(length))


def test_the_bits_of_a_keep_mask_by_hand():
    # 101001 10 | 01 and six bits of padding
    assert Survivors(KEEP).packed().tolist() == [0b10100110, 0b01000000]
    assert Survivors(KEEP).packed().dtype == np.uint8


@pytest.mark.parametrize("packed", [[], [1], [1, 2, 3]])
def test_a_keep_mask_of_another_length_is_refused(packed: list[int]):
    with pytest.raises(ValueError, match=f"^a keep-mask of {len(packed)} bytes does not fit 10 weights$"):
        Survivors.unpack(np.array(packed, dtype=np.uint8), SHAPES)


def test_a_keep_mask_of_two_dimensions_is_refused():
    with pytest.raises(ValueError, match="does not fit 10 weights"):
        Survivors.unpack(np.zeros((1, 2), dtype=np.uint8), SHAPES)


@given(st.lists(st.lists(st.integers(1, 5), min_size=2, max_size=4), min_size=1, max_size=4), st.randoms())
def test_a_keep_mask_survives_packing_and_a_vector_scattering(shapes: list[list[int]], random: "np.random.Generator"):
    named = {f"layer{number}": tuple(shape) for number, shape in enumerate(shapes)}
    keep = {
        name: torch.tensor([random.random() < 0.5 for _ in range(int(np.prod(shape)))]).view(shape)
        for name, shape in named.items()
    }
    before = Survivors(keep)
    after = Survivors.unpack(before.packed(), named)
    assert list(after.keep) == list(keep)
    assert all(torch.equal(after.keep[name], mask) for name, mask in keep.items())
    vector = torch.arange(1.0, sum(before.layer_sizes) + 1)
    scattered = after.scatter(vector)
    assert all(torch.equal(tensor != 0, keep[name]) for name, tensor in scattered.items())
    assert torch.equal(torch.cat([tensor[keep[name]] for name, tensor in scattered.items()]), vector)
