"""Ways to hand the nodes of one graph to the clients, each deterministic in the seed alone."""

import logging
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
from torch_geometric.data import Data
from torch_geometric.utils import remove_self_loops, to_scipy_sparse_matrix, to_undirected

from fedsieve.catalogue import OWN_PARTITIONS
from fedsieve.data.metis import Nodes, cut
from fedsieve.errors import UserError, suggest
from fedsieve.seeds import derive, random_state

_log = logging.getLogger("fedsieve")


Cut: TypeAlias = Callable[[sp.csr_array, int, int, int], list[Nodes]]
"""`cut(adjacency, num_clients, seed, clients_per_part)` gives each client's nodes."""


def partition_nodes(name: str, data: Data, num_clients: int, *, seed: int, clients_per_part: int = 5) -> list[Nodes]:
    """Return the sorted node ids of each client; none is empty.

    `clients_per_part` matters to overlapping partitions only. Edges count in both directions, whatever theirs is.

    Raises `UserError` for an unknown name, numbers below 1 and more clients than nodes.
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
    parts = PARTITIONS[name](_make_adjacency(data), num_clients, seed, clients_per_part)
    return [np.sort(nodes) for nodes in parts]


def metis(adjacency: sp.csr_array, num_clients: int, seed: int, _: int) -> list[Nodes]:
    """Cut few edges, in parts of like size (Karypis & Kumar 1998), k-way as in FED-PUB's code.

    Below some 30 nodes a client METIS's own first cut ignores the seed, so other seeds may give the same parts.
    """
    return _cut_with_metis(adjacency, num_clients, seed)


def metis_overlapping(adjacency: sp.csr_array, num_clients: int, seed: int, clients_per_part: int) -> list[Nodes]:
    """Cut with METIS in `ceil(num_clients / clients_per_part)` parts; each client draws half of its part's nodes."""
    parts = _cut_with_metis(adjacency, -(-num_clients // clients_per_part), seed)
    return [
        random_state(seed, "partition-overlap", client).permutation(part)[: max(1, len(part) // 2)]
        for client, part in ((client, parts[client // clients_per_part]) for client in range(num_clients))
    ]


def louvain(adjacency: sp.csr_array, num_clients: int, seed: int, __: int) -> list[Nodes]:
    """Find communities (Blondel et al. 2008) and give each, largest first, to the client with the fewest nodes.

    When there are fewer communities than clients, the largest are halved with METIS.
    """
    import networkx as nx

    node_sets = nx.community.louvain_communities(nx.from_scipy_sparse_array(adjacency), seed=derive(seed, "partition"))
    communities = [np.array(sorted(nodes)) for nodes in node_sets]
    if len(communities) < num_clients:
        _log.info("%d Louvain communities for %d clients; the largest are halved", len(communities), num_clients)
        communities, _ = cut(adjacency, num_clients, _derive_seed(seed), communities)
    clients: list[list[Nodes]] = [[] for _ in range(num_clients)]
    for nodes in sorted(communities, key=lambda nodes: (-len(nodes), nodes[0])):
        min(clients, key=lambda held: sum(map(len, held))).append(nodes)
    return [np.concatenate(held) for held in clients]


def at_random(adjacency: sp.csr_array, num_clients: int, seed: int, _: int) -> list[Nodes]:
    """Deal the nodes out at random, in parts of like size."""
    return np.array_split(random_state(seed, "partition").permutation(adjacency.shape[0]), num_clients)


PARTITIONS: dict[str, Cut] = {
    "metis": metis,
    "louvain": louvain,
    "metis-overlapping": metis_overlapping,
    "random": at_random,
}


def _make_adjacency(data: Data) -> sp.csr_array:
    edges = to_undirected(remove_self_loops(data.edge_index)[0], num_nodes=data.num_nodes)
    return sp.csr_array(to_scipy_sparse_matrix(edges, num_nodes=data.num_nodes))


def _cut_with_metis(adjacency: sp.csr_array, num_parts: int, seed: int) -> list[Nodes]:
    parts, filled = cut(adjacency, num_parts, _derive_seed(seed))
    if filled < num_parts:
        _log.warning("METIS left %d of %d parts empty; the largest are halved", num_parts - filled, num_parts)
    return parts


def _derive_seed(seed: int) -> int:
    return derive(seed, "partition") % 2**31
