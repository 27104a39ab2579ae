from pathlib import Path

import numpy as np
import pytest

from fedsieve.array_files import array_bytes
from fedsieve.errors import UserError
from fedsieve.reports import kept_weights
from fedsieve.reports.kept_weights import measure_kept_weights as read
from fedsieve.runs.layout import RunLayout


def write(folder: Path, client: int, matrix: list[list[float]], **others: list[float]) -> None:
    arrays = {"a.weight": np.array(matrix, np.float32)} | {k: np.array(v, np.float32) for k, v in others.items()}
    path = RunLayout(folder).model_of(client)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(array_bytes(arrays))


def test_zeros_overlap_and_signs_are_those_counted_by_hand(tmp_path: Path):
    write(tmp_path, 3, [[1, 0], [-2, 3]], bias=[0, 0])
    write(tmp_path, 10, [[-1, 5], [-2, 0]], bias=[1, 1])
    weights = read(tmp_path)
    assert weights is not None
    assert (weights.clients, weights.of, weights.layers) == ([3, 10], 2, ["a.weight"])  # a bias carries no mask
    np.testing.assert_array_equal(weights.zeros, [[0.25], [0.25]])
    np.testing.assert_array_equal(weights.shared, [[1, 0.5], [0.5, 1]])  # both keep 2 of the 4 that either keeps
    np.testing.assert_array_equal(weights.agreeing, [[1, 0.5], [0.5, 1]])  # of which one has one sign


def test_layers_are_taken_together_and_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    random = np.random.default_rng(0)
    for client in range(3):
        for _ in range(2):
            signs = random.integers(-1, 2, (5, 7)).tolist()
        write(tmp_path, client, signs, **{"b.weight": random.integers(-1, 2, (3, 2)).tolist()})
    whole = read(tmp_path)
    monkeypatch.setattr(kept_weights, "BLOCK", 4)
    parts = read(tmp_path)
    assert whole is not None
    assert parts is not None
    np.testing.assert_array_equal(whole.shared, parts.shared)
    np.testing.assert_array_equal(whole.agreeing, parts.agreeing)
    assert 0 < whole.shared[0, 1] < 1


def test_of_large_models_fewer_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for client in range(9):
        write(tmp_path, client, [[1, 0]])
    size = RunLayout(tmp_path).model_of(0).stat().st_size
    monkeypatch.setattr(kept_weights, "READ", 3 * size)
    weights = read(tmp_path)
    assert weights is not None
    assert (weights.clients, weights.of) == ([0, 4, 8], 9)


def test_without_models_there_is_nothing(tmp_path: Path):
    assert read(tmp_path) is None


def test_a_model_that_is_cut_off_is_named(tmp_path: Path):
    write(tmp_path, 0, [[1, 0]])
    path = tmp_path / "model" / "client-0.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match=r"model/client-0\.safetensors: what the run has left there cannot be read: "):
        read(tmp_path)
