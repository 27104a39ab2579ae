import logging

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from fedsieve.data.checks import MAX_CLASSES, MAX_LENGTH, check_learnable, check_size, screen
from fedsieve.errors import UserError


def path(**changes: object) -> dict[str, np.ndarray]:
    """Five nodes in a row, both directions; `None` takes a key out."""
    arrays = {
        "x": np.arange(10, dtype=np.float64).reshape(5, 2),
        "edge_index": np.array([[0, 1, 1, 2, 2, 3, 3, 4], [1, 0, 2, 1, 3, 2, 4, 3]]),
        "y": np.array([0, 1, 0, 1, 0]),
        **changes,
    }
    return {key: np.asarray(value) for key, value in arrays.items() if value is not None}


def masks(train: list[int], val: list[int], test: list[int]) -> dict[str, np.ndarray]:
    names = ("train_mask", "val_mask", "test_mask")
    return {name: np.isin(np.arange(5), nodes) for name, nodes in zip(names, (train, val, test), strict=True)}


def test_a_sound_graph_keeps_its_values_in_the_promised_types():
    data = screen("g", path())
    assert (data.x.dtype, data.edge_index.dtype, data.y.dtype) == (torch.float32, torch.int64, torch.int64)
    assert data.x.tolist() == path()["x"].tolist()
    assert data.edge_index.tolist() == path()["edge_index"].tolist()
    assert data.y.tolist() == [0, 1, 0, 1, 0]
    assert set(data.keys()) == {"x", "edge_index", "y"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"y": None}, "y is missing"),
        ({"edge_index": None}, "edge_index is missing"),
        ({"x": [[0, np.nan]] * 2 + [[np.inf, 1]] + [[0, 0]] * 2}, "x holds 3 values that are NaN or infinite"),
        ({"x": np.full((5, 1), 1e300)}, "x holds 5 values that are NaN or infinite"),
        ({"x": np.zeros((4, 2))}, "x has 4 rows and y 5"),
        ({"x": np.zeros(5)}, r"x is float64 of shape \(5,\).*N x F"),
        ({"x": np.zeros((5, 2), dtype=complex)}, "x is complex128.*real numbers"),
        ({"x": [["a"]] * 5}, "x is <U1.*real numbers"),
        ({"y": [0, 1, 0, 1, 5], "num_classes": 5}, "y has labels from 0 to 5; allowed are 0 to 4, as its class_names"),
        ({"y": [0, 1, 0, 1, -2]}, "y has labels from -2 to 1; allowed are 0 to 99999 and -1"),
        ({"y": [0, 1, 0.5, np.nan, 1]}, "y holds 2 labels that are not whole"),
        ({"y": [[0, 2]] * 5}, r"y is int64 of shape \(5, 2\).*one a node"),
        ({"y": [[1, 1]] * 5}, r"y is 5 x 2 with several classes for 5 nodes; give one"),
        ({"y": [1 + 2j] * 5}, r"y is complex128 of shape \(5,\); it must be whole numbers or words"),
        ({"y": np.zeros(0, dtype=int)}, r"y is int64 of shape \(0,\)"),
        ({"edge_index": [[0, 1], [1, 5]]}, "edge_index names nodes from 0 to 5; y has 5, so 0 to 4 are allowed"),
        ({"edge_index": [[0, -1], [1, 2]]}, "edge_index names nodes from -1 to 2"),
        ({"edge_index": [[0.5, 1], [1, 2]]}, "edge_index is float64; it must be whole"),
        ({"edge_index": [["a", "b"], ["b", "c"]]}, "edge_index is <U1; it must be whole"),
        (
            {"edge_index": np.eye(5, dtype=int)},
            r"edge_index has shape \(5, 5\); it must be 2 x E; of a matrix",
        ),
        ({"edge_index": [0, 1]}, r"edge_index has shape \(2,\)"),
        (
            {"train_mask": [True] * 5},
            "only train_mask given; give all of .* or split by shares: -s train",
        ),
        (
            {name: np.ones((5, 10), bool) for name in masks([], [], [])},
            "train_mask holds 10 splits; .*-s train-rat",
        ),
        (masks([0], [1], [2]) | {"val_mask": np.zeros(4, dtype=bool)}, "val_mask is bool of shape .4,.; .* 5 booleans"),
        (masks([0], [1], [2]) | {"test_mask": np.full(5, 2)}, "test_mask is int64 of shape .5,.; .* 5 booleans"),
    ],
)
def test_a_broken_graph_is_refused_in_one_sentence(changes: dict[str, object], sentence: str):
    with pytest.raises(UserError, match=f"^graph.npz: {sentence}") as caught:
        screen("graph.npz", path(**changes))
    assert "\n" not in str(caught.value)


def test_an_absurd_class_is_refused_though_there_are_as_many_nodes():
    y = np.zeros(MAX_CLASSES + 10, dtype=int)
    y[0] = MAX_CLASSES - 1
    arrays = {"x": np.zeros((len(y), 1)), "edge_index": np.zeros((2, 0), dtype=int), "y": y}
    assert int(screen("g", arrays, part=True).y.max()) == MAX_CLASSES - 1
    y[0] += 1
    with pytest.raises(UserError, match=f"labels from 0 to {MAX_CLASSES}; allowed are 0 to {MAX_CLASSES - 1} "):
        screen("g", arrays, part=True)


def test_sizes_are_bounded_both_ways():
    check_size("s", (MAX_LENGTH,), MAX_CLASSES)
    with pytest.raises(
        UserError, match=r"^s: one example is 4 x 500 x 501, 1,002,000 numbers; allowed are at most 1,000,0"
    ):
        check_size("s", (4, 500, 501), 2)
    with pytest.raises(UserError, match=r"^s: there are 100,001 classes; allowed are at most 100,000"):
        check_size("s", (1,), MAX_CLASSES + 1)


def test_labels_may_be_a_column_whole_floats_or_missing():
    assert screen("g", path(y=[[0], [1], [2], [1], [0]])).y.tolist() == [0, 1, 2, 1, 0]
    assert screen("g", path(y=[0.0, 1.0, -1.0, 1.0, 0.0])).y.tolist() == [0, 1, -1, 1, 0]


def test_labels_may_be_booleans_or_one_hot():
    assert screen("g", path(y=[True, False, True, False, True])).y.tolist() == [1, 0, 1, 0, 1]
    one_hot = [[1.0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1], [1, 0, 0]]
    assert screen("g", path(y=one_hot)).y.tolist() == [0, 1, -1, 2, 0]


@pytest.mark.parametrize("kind", [np.int32, np.uint8, np.float64])
def test_edges_may_be_a_list_of_pairs_of_any_whole_numbers(kind: type):
    pairs = path()["edge_index"].T.astype(kind)
    assert screen("g", path(edge_index=pairs)).edge_index.tolist() == path()["edge_index"].tolist()


def test_masks_may_be_columns():
    columns = {name: mask[:, None] for name, mask in masks([0], [1], [2]).items()}
    assert screen("g", path(**columns)).val_mask.tolist() == [False, True, False, False, False]


def test_repeated_edges_are_removed_and_counted_and_self_loops_stay(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "fedsieve")
    data = screen("g", path(edge_index=[[0, 1, 0, 2], [1, 0, 1, 2]]))
    assert data.edge_index.tolist() == [[0, 1, 2], [1, 0, 2]]
    assert caplog.messages == ["g: 1 repeated edges removed"]


EDGES = [[2, 1, 0, 0, 3], [2, 0, 1, 1, 4]]


@pytest.mark.parametrize("kind", [np.float64, np.int64, bool])
def test_edges_keep_their_own_weights_and_attributes(kind: type):
    weights = np.array([0, 1, 2, 3, 4]).astype(kind)
    data = screen("g", path(edge_index=EDGES, edge_weight=weights, edge_attr=np.stack([weights, weights], 1)))
    assert data.edge_index.tolist() == EDGES
    assert (data.edge_weight.dtype, data.edge_attr.dtype) == (torch.float32, torch.float32)
    assert data.edge_weight.tolist() == weights.tolist()
    assert data.edge_attr.tolist() == [[weight, weight] for weight in weights.tolist()]


def test_a_column_of_weights_and_a_row_of_attributes_are_taken():
    column = np.arange(5.0)[:, None]
    data = screen("g", path(edge_index=EDGES, edge_weight=column, edge_attr=column[:, 0]))
    assert (data.edge_weight.shape, data.edge_attr.shape) == ((5,), (5, 1))


@pytest.mark.parametrize(
    ("of_edges", "sentence"),
    [
        (
            {"edge_weight": np.ones(4)},
            r"edge_weight is float64 of shape \(4,\); it must be real numbers, E, of 5",
        ),
        ({"edge_weight": np.ones((5, 2))}, r"edge_weight is float64 of shape \(5, 2\)"),
        ({"edge_weight": np.array(["a"] * 5)}, r"edge_weight is <U1 of shape \(5,\)"),
        ({"edge_weight": np.ones(5, complex)}, r"edge_weight is complex128"),
        ({"edge_weight": [1, 1, np.nan, np.inf, 1]}, r"edge_weight holds 2 values that are NaN or infinite"),
        (
            {"edge_attr": np.ones((4, 2))},
            r"edge_attr is float64 of shape \(4, 2\); it must be real numbers, E x D, of",
        ),
        ({"edge_attr": np.ones((5, 0))}, r"edge_attr is float64 of shape \(5, 0\)"),
        ({"edge_attr": np.ones((5, 2, 2))}, r"edge_attr is float64 of shape \(5, 2, 2\)"),
        ({"edge_attr": np.full((5, 1), 1e300)}, r"edge_attr holds 5 values that are NaN or infinite"),
    ],
)
def test_what_edges_cannot_carry_is_one_sentence(of_edges: dict, sentence: str):
    arrays = {name: np.asarray(value) for name, value in of_edges.items()}
    with pytest.raises(UserError, match=rf"^g: {sentence}.*\.$"):
        screen("g", path(edge_index=EDGES, **arrays))


def test_weights_below_0_are_named(caplog: pytest.LogCaptureFixture):
    screen("g", path(edge_index=EDGES, edge_weight=np.array([1, 1, -1, 1, -1])))
    assert "g: 2 edge weights are below 0" in caplog.text


def test_directed_edges_stay_and_are_named(caplog: pytest.LogCaptureFixture):
    data = screen("g", path(edge_index=[[0, 1], [1, 2]]))
    assert data.edge_index.tolist() == [[0, 1], [1, 2]]
    assert "directed" in caplog.text


@pytest.mark.parametrize("x", [None, np.zeros((5, 0))])
def test_missing_features_become_a_scaled_degree_profile(x: object, caplog: pytest.LogCaptureFixture):
    data = screen("g", path(x=x))
    # degrees of the path are 1 2 2 2 1: mean 1.6, standard deviation sqrt(0.24)
    expected = (torch.tensor([1.0, 2, 2, 2, 1]) - 1.6) / 0.24**0.5
    assert data.x.shape == (5, 5)
    assert torch.allclose(data.x[:, 0], expected, atol=1e-6)
    assert data.x.dtype == torch.float32
    assert "no features; 5 made" in caplog.text


@pytest.mark.parametrize("edges", [np.zeros((2, 0)), np.zeros((2, 0), dtype=int), [[0, 1], [1, 0]]])
def test_no_edges_and_isolated_nodes_are_fine_even_without_features(edges: object):
    data = screen("g", path(edge_index=edges, x=None))
    assert data.num_nodes == 5
    assert data.edge_index.shape == np.shape(edges)
    assert data.x.isfinite().all()


def test_masks_may_be_zeros_and_ones_and_never_hold_unlabelled_nodes(caplog: pytest.LogCaptureFixture):
    arrays = path(y=[0, 1, -1, 1, 0], **masks([0, 2], [1], [3, 4])) | {"val_mask": np.array([0, 1, 0, 0, 0])}
    data = screen("g", arrays)
    assert data.train_mask.tolist() == [True, False, False, False, False]
    assert data.val_mask.dtype == torch.bool
    assert data.val_mask.nonzero().flatten().tolist() == [1]
    assert caplog.messages == ["g: train_mask: 1 nodes without a label taken out"]


def learnable(y: list[int], *parts: list[int]) -> Data:
    return screen("g", path(y=y, **masks(*parts)))


@pytest.mark.parametrize(
    ("y", "parts", "sentence"),
    [
        ([1] * 5, ([0], [1], [2]), "y names 1 class"),
        ([-1] * 5, ([0], [1], [2]), "y names 0 class"),
        ([0, 1, 0, 1, 0], ([], [1], [2]), "train_mask has no node out of 5"),
        ([0, 1, 0, 1, 0], ([0], [1], []), "test_mask has no node out of 5"),
        ([0, 1, 0, 1, 0], ([0, 1], [1, 2], [2, 3]), "2 nodes are in more than one of train_mask, val_mask"),
    ],
)
def test_a_graph_that_teaches_nothing_is_refused(y: list[int], parts: tuple[list[int], ...], sentence: str):
    with pytest.raises(UserError, match=f"^g: {sentence}"):
        check_learnable("g", learnable(y, *parts))


def test_a_learnable_graph_passes():
    check_learnable("g", learnable([0, 1, 0, 1, -1], [0], [1], [2]))
