from pathlib import Path
from typing import Any

import pytest

from fedsieve.client.app.parts import name_files, write_parts
from tests.helpers import config, simulated, write_graph


@pytest.mark.parametrize(
    ("clients", "names"),
    [
        (["", "", ""], ["client-0", "client-1", "client-2"]),
        ([""] * 11, [f"client-{at:02}" for at in range(11)]),
        (["w2", "w10"], ["w2", "w10"]),
        (["a/b", "a b"], ["0-a-b", "1-a-b"]),
        (["..", "B", "b"], ["0-client-0", "1-B", "2-b"]),
    ],
)
def test_files_are_named_by_the_clients_and_sort_in_their_order(clients: list[str], names: list[str]):
    assert name_files(clients) == names


CASES: dict[str, dict[str, Any]] = {
    "graph": {"partition": "louvain", "num-clients": 3, "hidden-dim": 8},
    "overlapping": {"partition": "metis-overlapping", "num-clients": 4, "clients-per-part": 2, "hidden-dim": 8},
    "images": {"dataset": "digits", "num-clients": 3, "examples-per-client": 40},
    "pathological": {"dataset": "digits", "num-clients": 3, "partition": "pathological", "examples-per-client": 40},
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_on_what_was_written_is_the_run_on_the_partition(case: str, tmp_path: Path):
    graph = write_graph(tmp_path / "g.npz")
    dealt = {"dataset": str(graph), "num-rounds": 2, "algorithm": "fed-avg"} | CASES[case]
    files = write_parts(config(dealt), tmp_path / "parts")
    assert len(files) == dealt["num-clients"]
    keys = {key: dealt[key] for key in ("num-rounds", "algorithm", "hidden-dim") if key in dealt}
    if "dataset" in CASES[case]:
        keys["model"] = "mlp"
    expected = simulated(tmp_path / "dealt", dealt)
    given = simulated(tmp_path / "given", keys, dataset=str(tmp_path / "parts"), partition="given")
    for name in ("rounds.jsonl", "clients.csv"):
        assert (given / name).read_bytes() == (expected / name).read_bytes()


def test_sparse_features_are_written_sparse(tmp_path: Path):
    import numpy as np
    import scipy.sparse as sp

    rows = sp.csr_matrix(np.eye(24, 40))
    sparse = {"x_data": rows.data, "x_indices": rows.indices, "x_indptr": rows.indptr, "x_shape": rows.shape}
    graph = write_graph(tmp_path / "g.npz", per_class=8, x=None, **sparse)
    files = write_parts(config(dataset=str(graph), num_clients=2, partition="random"), tmp_path / "parts")
    with np.load(files[0]) as arrays:
        assert "x_data" in arrays.files
        assert arrays["x_data"].dtype == np.float32
        assert "x" not in arrays.files


def test_what_edges_carry_is_written_with_them(tmp_path: Path):
    import numpy as np

    edges = np.array([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]])
    carried = {"edge_weight": np.arange(1.0, 7.0), "edge_attr": np.arange(12.0).reshape(6, 2)}
    graph = write_graph(tmp_path / "g.npz", per_class=8, edge_index=edges, **carried)
    files = write_parts(config(dataset=str(graph), num_clients=1, partition="random"), tmp_path / "parts")
    with np.load(files[0]) as arrays:
        order = [int(np.flatnonzero((edge == edges.T).all(axis=1))[0]) for edge in arrays["edge_index"].T]
        assert sorted(order) == list(range(6))
        assert arrays["edge_weight"].tolist() == carried["edge_weight"][order].tolist()
        assert arrays["edge_attr"].tolist() == carried["edge_attr"][order].tolist()
