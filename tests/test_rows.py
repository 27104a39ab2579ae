import logging
import os
from pathlib import Path

import numpy as np
import pytest

from fedsieve import rows
from fedsieve.errors import UserError
from fedsieve.rows import Rows, room_for
from tests.helpers import config

LIKE = {"w": np.zeros((2, 3), np.float32), "none": np.zeros((0, 4), np.float32), "b": np.zeros(1, np.float32)}
MB = 2**20


def model(value: float) -> dict[str, np.ndarray]:
    return {name: np.full_like(array, value) for name, array in LIKE.items()}


@pytest.fixture(params=["memory", "disk"])
def matrix(request: pytest.FixtureRequest, tmp_path: Path) -> Rows:
    return Rows(LIKE, 5, tmp_path if request.param == "disk" else None)


def test_models_come_back_as_they_were(matrix: Rows):
    kept = {"w": np.arange(6, dtype=np.float32).reshape(3, 2).T, "none": LIKE["none"], "b": np.float32([9])}
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
    matrix.put_columns([4, 1], 5, np.float32([[40, 41], [10, 11]]))
    assert matrix.columns([1, 0, 4], 4, 7).tolist() == [[1, 10, 11], [0, 0, 0], [4, 40, 41]]


def test_a_network_of_two_dtypes_keeps_them(tmp_path: Path):
    mixed = {"single": np.float32([0.1]), "double": np.array([0.1])}
    for folder in (None, tmp_path):
        matrix = Rows(mixed, 1, folder)
        matrix.put(0, mixed)
        got = matrix.get(0)
        assert all(got[name].dtype == array.dtype and got[name] == array for name, array in mixed.items())


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    matrix = Rows(LIKE, 1, tmp_path)
    monkeypatch.setattr(os, "pwrite", lambda *_: 3)
    with pytest.raises(UserError, match=f"^{tmp_path}: the server's models cannot be written: 3 of 28 bytes"):
        matrix.put(0, model(1))


def test_beyond_the_limit_all_are_on_disk_and_the_log_says_what_they_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    like = {"w": np.zeros(MB // 4, np.float32)}
    run = config(out=str(tmp_path), state_memory_mb=3)
    assert [matrix._file for matrix in room_for(run, like, 2, 1)] == [None, None]
    assert caplog.messages == []
    monkeypatch.setattr(rows, "TOLD", 3 * MB)
    assert None not in [matrix._file for matrix in room_for(run, like, 3, 1)]
    (said,) = caplog.messages
    assert said == f"the server keeps up to 4 models of 262144 weights each: 0.0 GB in a file in {tmp_path} " + (
        "(state-memory-mb = 3)"
    )


def test_a_matrix_far_larger_than_memory_takes_none_until_it_is_written(tmp_path: Path):
    like = {"w": np.zeros(1000, np.float32)}
    (huge,) = room_for(config(out=str(tmp_path)), like, 10**7)
    huge.put(10**7 - 1, {"w": np.ones(1000, np.float32)})
    assert huge.get(10**7 - 1)["w"].sum() == 1000


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path):
    with pytest.raises(UserError, match=r"^out: .*/gone cannot be written: No such file"):
        room_for(config(out=str(tmp_path / "gone"), state_memory_mb=0), LIKE, 1)
