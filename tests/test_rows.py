import logging
import os
from pathlib import Path

import numpy as np
import pytest

from fedsieve import rows
from fedsieve.contract import Expected
from fedsieve.errors import UserError
from fedsieve.rows import FIRST_ROWS, Rows, Storage, blocks

SINGLE, WHOLE = np.dtype(np.float32), np.dtype(np.int64)
LAYOUT = {"w": Expected((2, 3), SINGLE), "none": Expected((0, 4), SINGLE), "b": Expected((1,), SINGLE)}
MB = 2**20


def model(value: float) -> dict[str, np.ndarray]:
    return {name: np.full(expected.shape, value, expected.dtype) for name, expected in LAYOUT.items()}


@pytest.fixture(params=["memory", "disk"])
def matrix(request: pytest.FixtureRequest, tmp_path: Path) -> Rows:
    return Rows(LAYOUT, tmp_path if request.param == "disk" else None)


def test_models_come_back_as_they_were(matrix: Rows):
    kept = {
        "w": np.arange(6, dtype=np.float32).reshape(3, 2).T,
        "none": np.zeros((0, 4), np.float32),
        "b": np.float32([9]),
    }
    matrix.put(3, kept)
    matrix.put(0, model(1))
    matrix.put(0, model(2))
    assert {name: array.tolist() for name, array in matrix.get(3).items()} == {
        "w": [[0, 2, 4], [1, 3, 5]],
        "none": [],
        "b": [9],
    }
    assert matrix.get(3)["none"].shape == (0, 4)
    assert matrix.get(0)["w"].tolist() == [[2, 2, 2], [2, 2, 2]]


def test_what_was_got_does_not_change_with_the_row(matrix: Rows):
    matrix.put(0, model(1))
    got = matrix.get(0)
    matrix.put(0, model(2))
    got["w"][0, 0] = 7
    assert (got["w"][1, 2], matrix.get(0)["w"][0, 0]) == (1, 2)


def test_columns_are_taken_and_set_in_the_order_of_the_rows(matrix: Rows):
    for row in range(5):
        matrix.put(row, model(row))
    matrix.put_columns([4, 1], "w", 4, np.float32([[40, 41], [10, 11]]))
    assert matrix.columns([1, 0, 4], "w", 3, 6).tolist() == [[1, 10, 11], [0, 0, 0], [4, 40, 41]]
    assert matrix.columns([4, 1], "b", 0, 1).tolist() == [[4], [1]]


def test_rows_grow_and_keep_what_was_there(matrix: Rows):
    last = 3 * FIRST_ROWS
    for row in (0, FIRST_ROWS - 1, FIRST_ROWS, last):
        matrix.put(row, model(row))
    for row in (0, FIRST_ROWS - 1, FIRST_ROWS, last):
        assert matrix.get(row)["w"].tolist() == [[row] * 3] * 2
        assert matrix.get(row)["b"].tolist() == [row]


def test_a_row_may_be_set_in_parts(matrix: Rows):
    matrix.put(1, model(1))
    matrix.put(1, {"b": np.float32([5])})
    assert {name: array.tolist() for name, array in matrix.get(1).items()} == {"w": [[1] * 3] * 2, "none": [], "b": [5]}


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_network_of_several_dtypes_keeps_them(on_disk: bool, tmp_path: Path):
    mixed = {
        "single": np.float32([0.1]),
        "whole": np.array(2**53 + 1),
        "double": np.array([0.1]),
        "bytes": np.uint8([7, 255]),
    }
    matrix = Rows({name: Expected.like(array) for name, array in mixed.items()}, tmp_path if on_disk else None)
    for row in (0, 1):
        matrix.put(row, mixed)
    for row in (0, 1):
        got = matrix.get(row)
        assert all(got[name].dtype == array.dtype and np.array_equal(got[name], array) for name, array in mixed.items())
        assert got["whole"].shape == ()


def test_an_array_may_be_shorter_than_its_place(matrix: Rows):
    matrix.put(0, model(0))
    matrix.put(1, model(1))
    matrix.put(0, {"w": np.float32([8, 9])})
    assert matrix.columns([0], "w", 0, 2).tolist() == [[8, 9]]
    assert matrix.get(1)["w"].tolist() == [[1] * 3] * 2


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    matrix = Rows(LAYOUT, tmp_path)
    monkeypatch.setattr(os, "pwrite", lambda *_: 3)
    with pytest.raises(UserError, match=f"^{tmp_path}: the server's models cannot be written: 3 of 24 bytes"):
        matrix.put(0, model(1))


ROW = {"w": Expected((MB // 4,), SINGLE)}
"""A MiB a row."""


def on_disk(matrix: Rows) -> bool:
    return matrix._file is not None


def test_beyond_the_limit_rows_are_on_disk(tmp_path: Path):
    storage = Storage(3 * MB, tmp_path)
    assert storage.fits(3 * MB)
    assert not storage.fits(3 * MB + 1)
    assert not on_disk(storage.rows(ROW, 2))
    assert on_disk(storage.rows(ROW, 2)), "of 3 MiB, 2 are taken"
    assert storage.fits(MB), "what is on disk takes nothing"
    assert not on_disk(storage.rows(ROW, 1))
    assert on_disk(storage.rows(ROW, 1))
    assert not on_disk(storage.rows({}, 9))
    assert list(tmp_path.iterdir()) == []


def test_rows_of_two_dtypes_are_counted_in_bytes(tmp_path: Path):
    layout = {"w": Expected((2,), SINGLE), "n": Expected((), WHOLE)}
    assert not on_disk(Storage(3 * 16, tmp_path).rows(layout, 3))
    assert on_disk(Storage(3 * 16 - 1, tmp_path).rows(layout, 3))


def test_without_a_count_there_is_a_row_for_each_client(tmp_path: Path):
    assert not on_disk(Storage(4 * MB, tmp_path, num_clients=4).rows(ROW))
    assert on_disk(Storage(4 * MB, tmp_path, num_clients=5).rows(ROW))


def test_without_a_limit_all_rows_are_in_memory():
    assert Storage().fits(2**60)
    assert not on_disk(Storage().rows(ROW, 3))


def test_the_log_says_what_much_memory_or_disk_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(rows, "REPORTED", 3 * MB)
    storage = Storage(4 * MB, tmp_path)
    storage.rows(ROW, 3)
    assert caplog.messages == []
    Storage(4 * MB, tmp_path).rows(ROW, 4)
    storage.rows(ROW, 4)
    assert caplog.messages == [
        "the server keeps up to 4 models: 0.0 GB in memory (state-memory-mb)",
        f"the server keeps up to 4 models: 0.0 GB in a file in {tmp_path} (state-memory-mb)",
    ]


@pytest.mark.parametrize("limit", [None, 0])
def test_many_rows_take_nothing_until_they_are_written(limit: int | None, tmp_path: Path):
    huge = Storage(limit, tmp_path).rows({"w": Expected((1000,), SINGLE)}, 10**9)
    row = 20 if limit is None else 10**7 - 1  # a file has holes
    huge.put(row, {"w": np.ones(1000, np.float32)})
    assert huge.get(row)["w"].sum() == 1000


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path):
    with pytest.raises(UserError, match=r"^out: .*/gone cannot be written: No such file"):
        Storage(0, tmp_path / "gone").rows(LAYOUT, 1)


def test_blocks_cut_each_array_by_itself():
    layout = {"w": Expected((2, 3), SINGLE), "none": Expected((0, 4), SINGLE), "n": Expected((), WHOLE)}
    assert list(blocks(layout, 4)) == [("w", 0, 4), ("w", 4, 6), ("n", 0, 1)]
