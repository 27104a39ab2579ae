"""What all parts agree on: layouts of vectors, and the replies of a round."""

from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch

from fedsieve.contract import Expected, Layout, NDArray, Replies, Reply


def test_a_vector_is_split_into_views_one_after_the_other():
    layout = Layout({"w": (2, 2), "none": (0, 3), "scalar": (), "b": (3,)})
    assert layout.sizes == [4, 0, 1, 3]
    vector = np.arange(8)
    parts = layout.split(vector)
    assert {name: part.tolist() for name, part in parts.items()} == {
        "w": [[0, 1], [2, 3]],
        "none": [],
        "scalar": 4,
        "b": [5, 6, 7],
    }
    assert parts["none"].shape == (0, 3)
    parts["w"][1, 0] = -1
    assert vector.tolist() == [0, 1, -1, 3, 4, 5, 6, 7]


def test_a_layout_is_that_of_the_arrays_or_tensors_it_was_made_of():
    arrays = {"w": np.arange(6.0).reshape(2, 3), "b": np.array([6.0])}
    layout = Layout.of(arrays)
    assert layout == Layout.of({name: torch.from_numpy(array) for name, array in arrays.items()})
    split = layout.split(torch.arange(7.0))
    assert {name: part.tolist() for name, part in split.items()} == {"w": [[0, 1, 2], [3, 4, 5]], "b": [6]}


@pytest.mark.parametrize("length", [0, 4, 6])
@pytest.mark.parametrize("vector", [np.zeros, torch.zeros])
def test_a_vector_of_another_length_is_an_error(length: int, vector: type):
    with pytest.raises(ValueError, match=f"^a vector of {length} entries where 5 are expected$"):
        Layout({"w": (2, 2), "b": (1,)}).split(vector(length))


def test_of_no_arrays_the_vector_is_empty():
    assert Layout({}).split(np.zeros(0)) == {}


def test_an_array_has_at_most_as_many_bytes_as_its_place():
    assert Expected((2, 3), np.dtype(np.float64)).nbytes == 48
    assert Expected((), np.dtype(np.int32)).nbytes == 4
    assert Expected.up_to(5, np.uint8).nbytes == 5


def a_reply(client: int, arrays: Mapping[str, NDArray], num_examples: int = 1) -> Reply:
    return Reply(client, arrays, {"num-examples": num_examples})


def test_replies_are_sorted_by_client():
    replies = Replies([a_reply(7, {}, 1), a_reply(2, {}, 5), a_reply(4, {}, 3)])
    assert replies.clients == [2, 4, 7]
    assert replies.num_examples == [5, 3, 1]
    assert [reply.client for reply in replies] == [2, 4, 7]
    assert (len(replies), replies[0].client, replies[-1].client) == (3, 2, 7)
    assert replies[1:].clients == [4, 7]


def test_columns_are_a_row_per_client_whatever_way_an_array_lies():
    w = np.arange(6, dtype=np.float32).reshape(2, 3)
    replies = Replies(
        [a_reply(1, {"w": np.asfortranarray(10 * w)}), a_reply(0, {"w": w}), a_reply(2, {"w": 100 * w[::-1]})]
    )
    columns = replies.columns("w", 2, 5)
    assert columns.tolist() == [[2, 3, 4], [20, 30, 40], [500, 0, 100]]
    assert columns.dtype == np.float32
    columns[:] = -1
    assert w.tolist() == [[0, 1, 2], [3, 4, 5]]


class Parts(Mapping[str, NDArray]):
    """Arrays that are never read whole."""

    def __init__(self, value: int) -> None:
        self.value, self.asked = value, list[tuple[str, int, int]]()

    def __getitem__(self, name: str) -> NDArray:
        raise AssertionError("read whole")

    def __iter__(self) -> Iterator[str]:
        return iter(["w"])

    def __len__(self) -> int:
        return 1

    def part(self, name: str, start: int, stop: int) -> NDArray:
        self.asked.append((name, start, stop))
        return np.full(stop - start, self.value)


def test_of_arrays_on_disk_only_the_part_asked_for_is_read():
    stored = Parts(5)
    replies = Replies([a_reply(1, stored), a_reply(0, {"w": np.arange(9)})])
    assert replies.columns("w", 3, 5).tolist() == [[3, 4], [5, 5]]
    assert stored.asked == [("w", 3, 5)]
