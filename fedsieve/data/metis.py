"""METIS, in a process of its own: `cut` runs this file.

METIS draws with the C library's `rand`, whose state a process has once. A thread that draws from it at the same time,
as Ray's and gRPC's may, changes the cut; so the process in which METIS runs has no other thread.
"""

import io
import os
import subprocess
import sys
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pymetis
import scipy.sparse as sp

Nodes: TypeAlias = npt.NDArray[np.int64]


def cut(
    adjacency: sp.csr_array, num_parts: int, seed: int, parts: list[Nodes] | None = None
) -> tuple[list[Nodes], int]:
    """Return `num_parts` parts of the graph, none empty, and how many METIS's k-way cut, or `parts`, had.

    Where those are too few the largest, first among equals, is halved again and again.

    Args:
        adjacency: symmetric, without self-loops.
        seed: below 2^31.
        parts: to begin with, instead of METIS's cut.
    """
    sent = {"indptr": adjacency.indptr, "indices": adjacency.indices, "num_parts": num_parts, "seed": seed}
    if parts is not None:
        sent["membership"] = _number_parts(parts, adjacency.shape[0])
    command = [sys.executable, "-P", __file__]
    done = subprocess.run(command, input=_pack(**sent), stdout=subprocess.PIPE, check=True)
    with np.load(io.BytesIO(done.stdout)) as arrays:
        return _split_parts(arrays["membership"]), int(arrays["begun_with"])


def _main() -> None:
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # METIS prints what it thinks of a graph
    with np.load(io.BytesIO(sys.stdin.buffer.read())) as sent:
        num_parts, seed = int(sent["num_parts"]), int(sent["seed"])
        num_nodes = len(sent["indptr"]) - 1
        ones = np.ones(len(sent["indices"]), np.int8)
        adjacency = sp.csr_array((ones, sent["indices"], sent["indptr"]), shape=(num_nodes, num_nodes))
        membership = sent["membership"] if "membership" in sent else _find_membership(adjacency, num_parts, seed)
    parts = _split_parts(membership)
    halved = _halve_largest(adjacency, parts, num_parts, seed)
    membership = _number_parts(halved, adjacency.shape[0])
    with output:
        output.write(_pack(membership=membership, begun_with=len(parts)))


def _find_membership(adjacency: sp.csr_array, num_parts: int, seed: int) -> Nodes:
    """Return each node's part as METIS finds it; on small graphs some parts may have no node."""
    index = pymetis.zero_copy_dtype()
    graph = pymetis.CSRAdjacency(adjacency.indptr.astype(index), adjacency.indices.astype(index))
    options = pymetis.Options(seed=seed)
    return np.asarray(pymetis.part_graph(num_parts, graph, options=options, recursive=False).vertex_part, np.int64)


def _halve_largest(adjacency: sp.csr_array, parts: list[Nodes], num_parts: int, seed: int) -> list[Nodes]:
    parts = list(parts)
    while len(parts) < num_parts:
        nodes = parts.pop(max(range(len(parts)), key=lambda part: len(parts[part])))
        side = _find_membership(adjacency[nodes][:, nodes], 2, seed) == 0
        uncut = side.all() or not side.any()
        parts += np.array_split(nodes, 2) if uncut else [nodes[side], nodes[~side]]
    return parts


def _number_parts(parts: list[Nodes], num_nodes: int) -> Nodes:
    membership = np.empty(num_nodes, np.int64)
    for part, nodes in enumerate(parts):
        membership[nodes] = part
    return membership


def _split_parts(membership: Nodes) -> list[Nodes]:
    parts = [np.flatnonzero(membership == part) for part in range(membership.max() + 1)]
    return [nodes for nodes in parts if len(nodes)]


def _pack(**arrays: Any) -> bytes:
    written = io.BytesIO()
    np.savez(written, **arrays)
    return written.getvalue()


if __name__ == "__main__":
    _main()
