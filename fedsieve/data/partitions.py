"""Ways to hand the nodes of one graph to the clients, each deterministic in the seed alone."""

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import remove_self_loops, to_scipy_sparse_matrix, to_undirected

from fedsieve.catalogue import OWN_PARTITIONS
from fedsieve.data.dealing import Indices, deal_by_dirichlet
from fedsieve.data.metis import Nodes, cut
from fedsieve.data.sparse_features import to_scipy
from fedsieve.errors import UserError, suggest
from fedsieve.seeds import derive, random_state

_log = logging.getLogger("fedsieve")


@dataclass(frozen=True)
class Knobs:
    """What the single partitions of graphs are told; each reads its own."""

    clients_per_part: int
    alpha: float


Cut: TypeAlias = Callable[[Data, int, int, Knobs], list[Nodes]]
"""`cut(graph, num_clients, seed, knobs)` gives each client's nodes."""


def partition_nodes(
    name: str, data: Data, num_clients: int, *, seed: int, clients_per_part: int = 5, alpha: float = 0.5
) -> list[Nodes]:
    """Return the sorted node ids of each client; none is empty.

    `clients_per_part` matters to overlapping partitions only, `alpha` to those of Dirichlet's draws. Edges count in
    both directions, whatever theirs is.

    Raises `UserError` for an unknown name, numbers below 1, more clients than nodes, and an `alpha` so small that more
    than half of the clients would have none.
    """
    if name not in PARTITIONS:
        names = [*PARTITIONS, *OWN_PARTITIONS]
        raise UserError(
            f"partition = {name!r} is unknown{suggest(name, names)}; allowed for graphs are {', '.join(names)}."
        )
    if num_clients < 1:
        raise UserError(f"num-clients = {num_clients} is impossible; at least 1 is needed.")
    if clients_per_part < 1:
        raise UserError(f"clients-per-part = {clients_per_part} is impossible; at least 1 is needed.")
    if num_clients > data.num_nodes:
        raise UserError(
            f"num-clients = {num_clients} is too many for a graph of {data.num_nodes} nodes; each needs at least one."
        )
    parts = PARTITIONS[name](data, num_clients, seed, Knobs(clients_per_part, alpha))
    return [np.sort(nodes) for nodes in parts]


def metis(data: Data, num_clients: int, seed: int, _: Knobs) -> list[Nodes]:
    """Cut few edges, in parts of like size (Karypis & Kumar 1998), k-way as in FED-PUB's code.

    Below some 30 nodes a client METIS's own first cut ignores the seed, so other seeds may give the same parts.
    """
    return _cut_with_metis(_make_adjacency(data), num_clients, seed)


def metis_overlapping(data: Data, num_clients: int, seed: int, knobs: Knobs) -> list[Nodes]:
    """Cut with METIS in `ceil(num_clients / clients_per_part)` parts; each client draws half of its part's nodes."""
    clients_per_part = knobs.clients_per_part
    parts = _cut_with_metis(_make_adjacency(data), -(-num_clients // clients_per_part), seed)
    return [
        random_state(seed, "partition-overlap", client).permutation(part)[: max(1, len(part) // 2)]
        for client, part in ((client, parts[client // clients_per_part]) for client in range(num_clients))
    ]


def louvain(data: Data, num_clients: int, seed: int, __: Knobs) -> list[Nodes]:
    """Find communities (Blondel et al. 2008) and give each, largest first, to the client with the fewest nodes.

    When there are fewer communities than clients, the largest are halved with METIS.
    """
    import networkx as nx

    adjacency = _make_adjacency(data)
    node_sets = nx.community.louvain_communities(nx.from_scipy_sparse_array(adjacency), seed=derive(seed, "partition"))
    communities = [np.array(sorted(nodes)) for nodes in node_sets]
    if len(communities) < num_clients:
        _log.info("%d Louvain communities for %d clients; the largest are halved", len(communities), num_clients)
        communities, _ = cut(adjacency, num_clients, _derive_seed(seed), communities)
    clients: list[list[Nodes]] = [[] for _ in range(num_clients)]
    for nodes in sorted(communities, key=lambda nodes: (-len(nodes), nodes[0])):
        min(clients, key=lambda held: sum(map(len, held))).append(nodes)
    return [np.concatenate(held) for held in clients]


def at_random(data: Data, num_clients: int, seed: int, _: Knobs) -> list[Nodes]:
    """Deal the nodes out at random, in parts of like size."""
    return np.array_split(random_state(seed, "partition").permutation(data.num_nodes), num_clients)


def label_dirichlet(data: Data, num_clients: int, seed: int, knobs: Knobs) -> list[Nodes]:
    """Divide each class's nodes by a draw from Dir(alpha), as OpenFGL's label skew (Li et al. 2024).

    A client with more nodes than an equal share gets none of the classes that follow. Nodes without a label are one
    class more.
    """
    return _deal(data.y.numpy().astype(np.int64), num_clients, seed, knobs.alpha)


def feature_dirichlet(data: Data, num_clients: int, seed: int, knobs: Knobs) -> list[Nodes]:
    """Find as many clusters of the features as there are classes (k-means), and divide these as `label_dirichlet`."""
    num_clusters = min(max(2, int(data.y.max()) + 1), data.num_nodes)
    return _deal(_cluster(data.x, num_clusters, _derive_seed(seed)), num_clients, seed, knobs.alpha)


PARTITIONS: dict[str, Cut] = {
    "metis": metis,
    "louvain": louvain,
    "metis-overlapping": metis_overlapping,
    "random": at_random,
    "label-dirichlet": label_dirichlet,
    "feature-dirichlet": feature_dirichlet,
}


def _make_adjacency(data: Data) -> sp.csr_array:
    edges = to_undirected(remove_self_loops(data.edge_index)[0], num_nodes=data.num_nodes)
    return sp.csr_array(to_scipy_sparse_matrix(edges, num_nodes=data.num_nodes))


def _cut_with_metis(adjacency: sp.csr_array, num_parts: int, seed: int) -> list[Nodes]:
    parts, filled = cut(adjacency, num_parts, _derive_seed(seed))
    if filled < num_parts:
        _log.warning("METIS left %d of %d parts empty; the largest are halved", num_parts - filled, num_parts)
    return parts


def _deal(kinds: Indices, num_clients: int, seed: int, alpha: float) -> list[Nodes]:
    """Return each client's nodes; those of one kind are in a random order when they are divided."""
    order = random_state(seed, "partition").permutation(len(kinds))
    shares = deal_by_dirichlet(kinds[order], num_clients, derive(seed, "partition"), alpha, "node", balanced=True)
    return [order[share] for share in shares]


def _cluster(features: Tensor, num_clusters: int, seed: int) -> Indices:
    """Return the cluster of each node; some clusters may have none.

    In one thread, since the order of the sums of several depends on how many they are, and every process of a run must
    find the same.
    """
    from sklearn.cluster import KMeans

    rows: Any = to_scipy(features) if features.is_sparse else features.numpy()
    if features.is_sparse:  # scikit-learn takes no other
        rows.indices, rows.indptr = rows.indices.astype(np.int32), rows.indptr.astype(np.int32)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on fewer different nodes than clusters
        found = KMeans(num_clusters, n_init=1, random_state=seed).fit(rows).labels_
    return np.asarray(found, dtype=np.int64)


def _derive_seed(seed: int) -> int:
    return derive(seed, "partition") % 2**31
