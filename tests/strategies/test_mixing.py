from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedsieve.contract import Arrays, Expected, Replies, Reply
from fedsieve.rows import Storage
from fedsieve.server.uploads import Uploads
from fedsieve.strategies import mixing
from fedsieve.strategies.mixing import cosine_similarity, mean, mix, similarity_weights

NUMBERS = st.floats(-1e3, 1e3, width=32)


def float32(*values: object) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_the_similarity_of_two_clients():
    # cos((3, 4), (4, 3)) = (12 + 12) / (5 · 5)
    assert cosine_similarity(float32([3, 4], [4, 3])) == pytest.approx(np.array([[1, 0.96], [0.96, 1]]))


def test_the_similarity_of_three_clients():
    # (1, 0), (0, 2) and (-3, 3): right angle, 135 degrees, 45 degrees
    half = np.sqrt(0.5)
    expected = np.array([[1, 0, -half], [0, 1, half], [-half, half, 1]])
    assert cosine_similarity(float32([1, 0], [0, 2], [-3, 3])) == pytest.approx(expected)


def test_a_zero_vector_is_like_nobody():
    assert cosine_similarity(float32([0, 0], [1, 1])).tolist() == [[0, 0], [0, pytest.approx(1)]]


def test_the_weights_of_two_clients():
    # τ = ln 2: e^(τ·1) = 2 and e^(τ·0) = 1
    alpha = similarity_weights(np.array([[1.0, 0.0], [0.0, 1.0]]), np.log(2))
    assert alpha == pytest.approx(np.array([[2 / 3, 1 / 3], [1 / 3, 2 / 3]]))


def test_the_weights_of_three_clients_are_normalised_row_by_row():
    # τ = 2 ln 2: e^(τ·1) = 4, e^(τ/2) = 2, e^0 = 1, e^(-τ/2) = 1/2
    similarity = np.array([[1, 0.5, 0], [0.5, 1, -0.5], [0, -0.5, 1]])
    expected = np.array([[4 / 7, 2 / 7, 1 / 7], [4 / 13, 8 / 13, 1 / 13], [2 / 11, 1 / 11, 8 / 11]])
    assert similarity_weights(similarity, 2 * np.log(2)) == pytest.approx(expected)


def test_without_temperature_the_mixture_is_the_plain_mean():
    assert similarity_weights(np.array([[1, -1], [-1, 1]]), 0.0).tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_an_extreme_temperature_leaves_each_client_its_own_model():
    assert similarity_weights(np.array([[1, 0.5], [0.5, 1]]), 1e4).tolist() == [[1, 0], [0, 1]]


@given(arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=NUMBERS), st.floats(0, 50))
def test_rows_sum_to_one_and_a_client_weighs_no_other_above_itself(embeddings: np.ndarray, tau: float):
    similarity = cosine_similarity(embeddings)
    assert np.abs(similarity).max() <= 1
    assert (similarity == similarity.T).all()
    alpha = similarity_weights(similarity, tau)
    assert alpha.sum(axis=1) == pytest.approx(np.ones(len(embeddings)))
    assert (alpha >= 0).all()
    some = np.abs(embeddings).max(axis=1) > 1e-30
    assert (alpha.diagonal()[some] >= alpha[some].max(axis=1) - 1e-9).all()


def replies_of(sources: Sequence[Arrays], sizes: Sequence[int] | None = None, folder: Path | None = None) -> Replies:
    """Return a client's reply of each of these models, in memory, or with a folder on disk."""
    uploads, layout = Uploads(Storage(None if folder is None else 0, folder)), layout_of(sources[0])
    uploads.begin_round(layout, len(sources))
    metrics = [{"num-examples": float(size)} for size in sizes or [1] * len(sources)]
    replies = [Reply(client, *both) for client, both in enumerate(zip(sources, metrics, strict=True))]
    return Replies([uploads.keep(reply) for reply in reversed(replies)])


def layout_of(arrays: Arrays) -> dict[str, Expected]:
    return {name: Expected.like(array) for name, array in arrays.items()}


def mixtures(sources: Sequence[Arrays], weights: np.ndarray, folder: Path | None = None) -> list[Arrays]:
    """Return the mixtures of these models."""
    mixed = [{name: np.empty_like(array).reshape(-1) for name, array in sources[0].items()} for _ in weights]
    for name, start, block in mix(weights, replies_of(sources, None, folder), layout_of(sources[0])):
        for row, values in zip(mixed, block, strict=True):
            row[name][start : start + len(values)] = values
    return [{name: flat.reshape(sources[0][name].shape) for name, flat in row.items()} for row in mixed]


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_mixture_by_hand(on_disk: bool, tmp_path: Path):
    sources = [
        {"w": float32([1, 2], [3, 4]), "b": float32(1)},
        {"w": float32([10, 20], [30, 40]), "b": float32(-1)},
    ]
    first, second = mixtures(sources, np.array([[0.5, 0.5], [0.25, 0.75]]), tmp_path if on_disk else None)
    assert first["w"].tolist() == [[5.5, 11], [16.5, 22]]
    assert first["b"].tolist() == [0]
    assert second["w"].tolist() == [[7.75, 15.5], [23.25, 31]]
    assert second["b"].tolist() == [-0.5]


def test_a_mixture_has_the_arrays_own_type():
    sources = [{"single": float32(value), "double": np.array([value])} for value in (0.1, 0.3)]
    for name, _, block in mix(np.array([[0.5, 0.5]]), replies_of(sources), layout_of(sources[0])):
        assert block.dtype == sources[0][name].dtype
        assert block.tolist() == [[pytest.approx(0.2)]]


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.int8])
def test_whole_numbers_are_averaged_and_rounded(dtype: type[np.generic]):
    # (1·1 + 3·2) / 4 = 1.75, (1·0 + 3·1) / 4 = 0.75, (1·100 + 3·0) / 4 = 25, and halves go to even
    counts = [{"n": np.array(values, dtype=dtype)} for values in ([1, 0, 100], [2, 1, 0])]
    together = mean(replies_of(counts, [1, 3]), layout_of(counts[0]))["n"]
    assert together.tolist() == [2, 1, 25]
    assert together.dtype == dtype
    halves = [{"n": np.array(values, dtype=dtype)} for values in ([0, 1, 2], [1, 2, 3])]
    assert mean(replies_of(halves), layout_of(halves[0]))["n"].tolist() == [0, 2, 2]


def test_a_mean_of_whole_numbers_and_weights_has_the_shapes_of_both(tmp_path: Path):
    models = [{"w": float32([value, 2 * value]), "steps": np.array(steps)} for value, steps in ((1, 10), (3, 21))]
    for folder in (None, tmp_path):
        together = mean(replies_of(models, None, folder), layout_of(models[0]))
        assert {name: array.tolist() for name, array in together.items()} == {"w": [[2, 4]], "steps": 16}


@given(st.integers(1, 12), st.integers(1, 40), st.integers(1, 45), st.integers(0, 9))
def test_blocks_of_any_width_give_the_plain_product(clients: int, width: int, columns: int, seed: int):
    random = np.random.RandomState(seed)
    # whole numbers below 2^24 are exact in float32, in whatever order they are added
    models = random.randint(-100, 100, (clients, width)).astype(np.float32)
    weights = random.randint(-100, 100, (clients + 1, clients)).astype(np.float32)
    with patch.object(mixing, "COLUMNS", columns):
        mixed = mixtures([{"w": model} for model in models], weights)
    assert np.array_equal([row["w"] for row in mixed], weights @ models)


def test_many_models_on_disk_give_the_bits_of_those_in_memory_and_the_plain_product(tmp_path: Path):
    random = np.random.RandomState(0)
    models = random.normal(size=(60, 2 * mixing.COLUMNS + 77)).astype(np.float32)
    weights = random.dirichlet(np.ones(60), 61)
    sources = [{"a": model[:50].reshape(5, 10), "b": model[50:]} for model in models]
    here, there = mixtures(sources, weights), mixtures(sources, weights, tmp_path)
    for in_memory, on_disk, expected in zip(here, there, weights @ models.astype(np.float64), strict=True):
        assert all(np.array_equal(in_memory[name], on_disk[name]) for name in ("a", "b"))
        assert np.concatenate([in_memory["a"].ravel(), in_memory["b"]]) == pytest.approx(expected, abs=1e-5)
    assert list(tmp_path.iterdir()) == []


@given(st.data(), st.integers(1, 5))
def test_weights_by_size_give_flowers_own_weighted_mean(data: st.DataObject, clients: int):
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(0, 3)))
    sizes = data.draw(st.lists(st.integers(1, 1000), min_size=clients, max_size=clients))
    sources = [{"w": data.draw(arrays(np.float32, shape, elements=NUMBERS))} for _ in range(clients)]
    replies = [
        RecordDict({"a": ArrayRecord({"w": Array(source["w"])}), "m": MetricRecord({"n": size})})
        for source, size in zip(sources, sizes, strict=True)
    ]
    flowers = aggregate_arrayrecords(replies, "n")["w"].numpy()
    ours = mean(replies_of(sources, sizes), layout_of(sources[0]))
    assert ours["w"].shape == shape
    assert ours["w"] == pytest.approx(flowers, rel=1e-4, abs=1e-3)
