import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

from fedsieve.data.clients import check_clients, client_graph
from fedsieve.errors import UserError


def graph(num_nodes: int, pairs: list[tuple[int, int]]) -> Data:
    node = torch.arange(num_nodes)
    return Data(
        x=node.float().unsqueeze(1),
        edge_index=torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T,
        y=node % 4,
        train_mask=node % 3 == 0,
        val_mask=node % 3 == 1,
        test_mask=node % 3 == 2,
        num_classes=4,
    )


def test_a_client_holds_its_nodes_and_the_edges_between_them():
    data = graph(6, [(0, 1), (1, 0), (1, 4), (4, 5), (5, 4), (2, 3)])
    held = client_graph(data, np.array([1, 4, 5]))
    assert held.x.tolist() == [[1], [4], [5]]
    assert held.y.tolist() == [1, 0, 1]
    assert held.edge_index.tolist() == [[0, 1, 2], [1, 2, 1]]
    assert held.train_mask.tolist() == [False, False, False]
    assert held.val_mask.tolist() == [True, True, False]
    assert held.test_mask.tolist() == [False, False, True]
    assert held.num_classes == 4


@st.composite
def graphs_and_nodes(draw: st.DrawFn) -> tuple[Data, np.ndarray]:
    num_nodes = draw(st.integers(1, 15))
    node = st.integers(0, num_nodes - 1)
    pairs = draw(st.lists(st.tuples(node, node), max_size=40, unique=True))
    nodes = draw(st.sets(node, min_size=1))
    return graph(num_nodes, pairs), np.array(sorted(nodes))


@settings(deadline=None)
@given(graphs_and_nodes())
def test_exactly_the_edges_inside_are_kept(case: tuple[Data, np.ndarray]):
    data, nodes = case
    held = client_graph(data, nodes)
    inside = {(a, b) for a, b in data.edge_index.T.tolist() if a in nodes and b in nodes}
    kept = [(int(nodes[a]), int(nodes[b])) for a, b in held.edge_index.T.tolist()]
    assert len(kept) == len(inside)
    assert set(kept) == inside
    assert held.x.flatten().tolist() == nodes.tolist()


def client(train: int, val: int, test: int) -> Data:
    sizes = {"train_mask": train, "val_mask": val, "test_mask": test}
    return Data(**{name: torch.arange(3) < size for name, size in sizes.items()})


def test_clients_without_training_or_test_nodes_are_named(caplog: pytest.LogCaptureFixture):
    check_clients([client(0, 1, 1), client(1, 1, 0), client(0, 1, 1), client(2, 1, 1)], {})
    assert caplog.messages == [
        "2 of 4 clients have no nodes for training: 0, 2; they take part but do not train",
        "1 of 4 clients have no nodes for testing: 1; they do not count in the test accuracy",
    ]


def test_complete_clients_pass_without_a_word(caplog: pytest.LogCaptureFixture):
    check_clients([client(1, 1, 1)] * 3, {})
    assert not caplog.messages


@pytest.mark.parametrize(
    ("sizes", "part"), [((0, 1, 1), "training"), ((1, 0, 1), "validation"), ((1, 1, 0), "testing")]
)
def test_a_mask_that_no_client_has_is_refused(sizes: tuple[int, int, int], part: str):
    told = f"^num-clients = 2, val-ratio = 0.1: these leave none of the 2 clients with nodes for {part}, allowed: "
    with pytest.raises(UserError, match=told):
        check_clients([client(*sizes)] * 2, {"num-clients": 2, "val-ratio": 0.1})


def test_edges_inside_keep_their_own_weights_attributes_and_loops():
    data = graph(6, [(5, 4), (1, 4), (4, 4), (0, 1), (1, 4), (2, 3)])
    data.edge_weight, data.edge_attr = torch.arange(6.0), torch.arange(12.0).reshape(6, 2)
    held = client_graph(data, np.array([1, 4, 5]))
    assert held.edge_index.tolist() == [[2, 0, 1, 0], [1, 1, 1, 1]]
    assert held.edge_weight.tolist() == [0, 1, 2, 4]
    assert held.edge_attr.tolist() == [[0, 1], [2, 3], [4, 5], [8, 9]]
    assert held.num_edge_features == 2
