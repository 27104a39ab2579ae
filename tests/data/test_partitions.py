import ctypes
import itertools
import random
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

from fedsieve.data.clients import client_graph
from fedsieve.data.metis import cut
from fedsieve.data.partitions import PARTITIONS, _make_adjacency, partition_nodes
from fedsieve.errors import UserError

DRAWN = ["label-dirichlet", "feature-dirichlet"]
DISJOINT = [name for name in PARTITIONS if name not in ("metis-overlapping", *DRAWN)]


def graph(num_nodes: int, pairs: list[tuple[int, int]]) -> Data:
    edges = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
    kinds = torch.arange(num_nodes) % 3
    return Data(x=kinds[:, None].float(), edge_index=edges, y=kinds)


def cliques(*sizes: int) -> Data:
    """Cliques with no edge between them, their nodes numbered one clique after the other."""
    starts = np.cumsum([0, *sizes])
    pairs = [(a, b) for i, j in itertools.pairwise(starts) for a in range(i, j) for b in range(i, j) if a != b]
    return graph(sum(sizes), pairs)


@st.composite
def graphs_and_clients(draw: st.DrawFn) -> tuple[Data, int, int]:
    """Directed or not, with repeats, self-loops, isolated nodes, several components or no edges at all."""
    num_nodes = draw(st.integers(1, 24))
    node = st.integers(0, num_nodes - 1)
    pairs = draw(st.lists(st.tuples(node, node), max_size=60))
    return graph(num_nodes, pairs), draw(st.integers(1, num_nodes)), draw(st.integers(0, 2**31))


@pytest.mark.parametrize("name", DISJOINT)
@settings(deadline=None, max_examples=25)
@given(case=graphs_and_clients())
def test_each_node_is_in_exactly_one_part_and_none_is_empty(name: str, case: tuple[Data, int, int]):
    data, num_clients, seed = case
    parts = partition_nodes(name, data, num_clients, seed=seed)
    assert len(parts) == num_clients
    assert all(len(part) for part in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(data.num_nodes))
    assert all(part.tolist() == sorted(part.tolist()) for part in parts)


@settings(deadline=None, max_examples=25)
@given(case=graphs_and_clients(), clients_per_part=st.integers(1, 6))
def test_overlapping_clients_hold_half_of_their_part(case: tuple[Data, int, int], clients_per_part: int):
    data, num_clients, seed = case
    parts = partition_nodes("metis", data, -(-num_clients // clients_per_part), seed=seed)
    clients = partition_nodes("metis-overlapping", data, num_clients, seed=seed, clients_per_part=clients_per_part)
    assert len(clients) == num_clients
    for client, nodes in enumerate(clients):
        part = parts[client // clients_per_part]
        assert len(nodes) == max(1, len(part) // 2)
        assert nodes.tolist() == sorted(set(nodes.tolist()))
        assert set(nodes.tolist()) <= set(part.tolist())


@pytest.mark.parametrize("name", PARTITIONS)
def test_the_seed_alone_decides(name: str):
    rng = np.random.RandomState(0)
    data = graph(600, [tuple(pair) for pair in rng.randint(600, size=(1800, 2))])
    first = partition_nodes(name, data, 7, seed=1)
    for state in (5, 6):
        random.seed(state)
        np.random.seed(state)
        torch.manual_seed(state)
        again = partition_nodes(name, data, 7, seed=1)
        assert [part.tolist() for part in again] == [part.tolist() for part in first]
    other = partition_nodes(name, data, 7, seed=2)
    assert [part.tolist() for part in other] != [part.tolist() for part in first]


@pytest.mark.parametrize("name", ["metis", "louvain"])
def test_cliques_are_found(name: str):
    data = cliques(6, 6, 6, 6)
    parts = sorted(part.tolist() for part in partition_nodes(name, data, 4, seed=3))
    assert parts == [list(range(start, start + 6)) for start in (0, 6, 12, 18)]


def test_louvain_gives_the_largest_community_to_the_smallest_client():
    # sizes 7 5 4 3: client 0 gets 7, client 1 gets 5 and 4, then client 0 (7 < 9) gets 3
    parts = partition_nodes("louvain", cliques(3, 7, 4, 5), 2, seed=1)
    assert [part.tolist() for part in parts] == [[*range(3), *range(3, 10)], [*range(10, 14), *range(14, 19)]]


def test_louvain_halves_the_largest_communities_when_they_are_too_few():
    parts = partition_nodes("louvain", cliques(8, 4), 4, seed=1)
    assert sorted(map(len, parts)) == [2, 2, 4, 4]
    assert all(max(part) < 8 or min(part) >= 8 for part in parts)


def test_halving_cuts_where_the_graph_is_thin():
    # two cliques, one on the even and one on the odd nodes, so that halves by number would be wrong
    data = graph(10, [(a, b) for a in range(10) for b in range(10) if a != b and (a - b) % 2 == 0])
    halves, begun_with = cut(_make_adjacency(data), 2, 1, [np.arange(10)])
    assert begun_with == 1
    assert sorted(half.tolist() for half in halves) == [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]


def test_parts_that_metis_leaves_empty_are_filled_and_counted(caplog: pytest.LogCaptureFixture):
    star = graph(12, [(0, leaf) for leaf in range(1, 12)])
    parts = partition_nodes("metis", star, 11, seed=0)
    assert sorted(map(len, parts)) == [1] * 10 + [2]
    assert "parts empty; the largest are halved" in caplog.text


def test_random_parts_are_of_like_size():
    parts = partition_nodes("random", graph(11, []), 3, seed=1)
    assert sorted(map(len, parts)) == [3, 4, 4]


def test_a_thread_that_draws_random_numbers_from_the_c_library_changes_no_cut():
    rng = np.random.RandomState(0)
    data = graph(600, [tuple(pair) for pair in rng.randint(600, size=(1800, 2))])
    expected = [part.tolist() for part in partition_nodes("metis", data, 7, seed=1)]
    rand, over = ctypes.CDLL(None).rand, threading.Event()

    def draw() -> None:
        while not over.is_set():
            rand()

    drawing = threading.Thread(target=draw)
    drawing.start()
    try:
        for _ in range(3):
            assert [part.tolist() for part in partition_nodes("metis", data, 7, seed=1)] == expected
    finally:
        over.set()
        drawing.join()


def test_metis_is_silent_on_standard_output():
    code = """
import torch
from torch_geometric.data import Data
from fedsieve.data.partitions import partition_nodes
for n in (1, 2, 3, 9):
    for pairs in ([], [[0, i] for i in range(1, n)]):
        edges = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
        for k in range(1, n + 1):
            partition_nodes("metis", Data(x=torch.zeros(n, 1), edge_index=edges), k, seed=k)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("name", "num_clients", "clients_per_part", "sentence"),
    [
        (
            "metsi",
            2,
            5,
            r"'metsi' is unknown \(did you mean metis\?\); allowed for graphs are metis, louvain, metis-over",
        ),
        ("metis", 0, 5, "num-clients = 0 is impossible"),
        ("metis-overlapping", 2, 0, "clients-per-part = 0 is impossible"),
        *((name, 5, 5, "num-clients = 5 is too many for a graph of 4 nodes") for name in PARTITIONS),
    ],
)
def test_impossible_requests_are_refused(name: str, num_clients: int, clients_per_part: int, sentence: str):
    with pytest.raises(UserError, match=sentence):
        partition_nodes(name, cliques(4), num_clients, seed=1, clients_per_part=clients_per_part)


@pytest.mark.parametrize("name", DRAWN)
@settings(deadline=None, max_examples=25)
@given(case=graphs_and_clients(), alpha=st.sampled_from([1e-6, 0.01, 0.5, 100.0]))
def test_drawn_parts_hold_each_node_once_and_none_is_empty(name: str, case: tuple[Data, int, int], alpha: float):
    data, num_clients, seed = case
    try:
        parts = partition_nodes(name, data, num_clients, seed=seed, alpha=alpha)
    except UserError:  # more than half of the clients would be empty
        assert num_clients > 3 or alpha < 1
        return
    assert len(parts) == num_clients
    assert all(len(part) for part in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(data.num_nodes))


@pytest.mark.parametrize("name", DRAWN)
def test_the_smaller_alpha_the_less_alike_the_clients(name: str):
    data = graph(3000, [])
    even = [largest_shares(data, partition_nodes(name, data, 6, seed=seed, alpha=1e6)) for seed in range(3)]
    some = [largest_shares(data, partition_nodes(name, data, 6, seed=seed, alpha=1.0)) for seed in range(3)]
    far = [largest_shares(data, partition_nodes(name, data, 6, seed=seed, alpha=0.05)) for seed in range(3)]
    assert np.mean(even) == pytest.approx(1 / 3, abs=0.01)
    assert np.mean(even) + 0.1 < np.mean(some) < np.mean(far) - 0.1


def largest_shares(data: Data, parts: list[np.ndarray]) -> float:
    """Return how large a share of a client its largest class is, in the mean."""
    return float(np.mean([np.bincount(data.y.numpy()[part]).max() / len(part) for part in parts]))


@pytest.mark.parametrize("name", DRAWN)
def test_a_client_that_drew_no_node_gets_one(name: str, caplog: pytest.LogCaptureFixture):
    parts = partition_nodes(name, graph(300, []), 30, seed=1, alpha=0.3)
    assert min(map(len, parts)) == 1
    assert "of 30 clients drew no node; each gets one of the client with the most" in caplog.text


@pytest.mark.parametrize("name", DRAWN)
def test_an_alpha_that_leaves_most_clients_empty_is_refused(name: str):
    with pytest.raises(UserError, match=r"alpha = 1e-09 leaves 1\d of 20 clients without a node; raise alpha or lower"):
        partition_nodes(name, graph(40, []), 20, seed=1, alpha=1e-9)


def test_clusters_are_of_features_not_of_labels_and_sparse_ones_are_the_same():
    data = graph(400, [])
    data.x = (torch.arange(400) >= 200).float()[:, None] * torch.tensor([[0.0, 5.0]])
    parts = partition_nodes("feature-dirichlet", data, 2, seed=1, alpha=1e-3)
    assert sorted(part.tolist() for part in parts) == [[*range(200)], [*range(200, 400)]]
    data.x = data.x.to_sparse().coalesce()
    again = partition_nodes("feature-dirichlet", data, 2, seed=1, alpha=1e-3)
    assert [part.tolist() for part in again] == [part.tolist() for part in parts]


def test_nodes_without_a_label_are_dealt_as_a_class_of_their_own():
    data = graph(300, [])
    data.y[:100] = -1
    parts = partition_nodes("label-dirichlet", data, 4, seed=1, alpha=1e6)
    unlabelled = [int((data.y[torch.from_numpy(part)] == -1).sum()) for part in parts]
    assert sum(unlabelled) == 100
    assert unlabelled == pytest.approx([25] * 4, abs=1)


def test_metis_keeps_most_edges_of_the_digits_and_random_few():
    from fedsieve.data.graphs import load_graph

    data = load_graph("digits-knn", seed=1)

    def kept(name: str) -> float:
        graphs = [client_graph(data, nodes) for nodes in partition_nodes(name, data, 10, seed=1)]
        return sum(graph.num_edges for graph in graphs) / data.num_edges

    assert kept("metis") > 0.85
    assert kept("louvain") > 0.85
    assert kept("random") < 0.2
