import logging
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.data import Data, HeteroData, InMemoryDataset

from fedsieve.data.graphs import load_graph
from fedsieve.data.sparse_features import to_dense
from fedsieve.data.split import MASKS, Split
from fedsieve.errors import UserError

N = 12


def arrays() -> dict[str, Any]:
    ring = np.arange(N)
    edges = np.stack([np.r_[ring, (ring + 1) % N], np.r_[(ring + 1) % N, ring]])
    return {"x": np.eye(N, 3) + 2 * np.eye(N, 3, k=-4), "edge_index": edges, "y": ring % 3}


def own_masks() -> dict[str, Any]:
    return {name: np.arange(N) % 3 == part for part, name in enumerate(MASKS)}


def tensors(given: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value) for key, value in given.items()}


def same(a: Data, b: Data) -> bool:
    return set(a.keys()) == set(b.keys()) and all(
        torch.equal(torch.as_tensor(a[key]), torch.as_tensor(b[key]))
        for key in a.keys()  # noqa: SIM118
    )


def test_dense_npz_csr_npz_pyg_data_and_plain_dict_give_one_graph(tmp_path: Path):
    given = arrays()
    csr = sp.csr_matrix(given["x"])
    rest = {key: given[key] for key in ("edge_index", "y")}
    sparse = {"x_data": csr.data, "x_indices": csr.indices, "x_indptr": csr.indptr, "x_shape": csr.shape}
    np.savez(tmp_path / "dense.npz", **given)
    np.savez_compressed(tmp_path / "csr.npz", **rest, **sparse)
    torch.save(Data(**tensors(given)), tmp_path / "data.pt")
    torch.save(tensors(given), tmp_path / "dict.pt")
    torch.save(tensors(given) | {"x": torch.from_numpy(given["x"]).to_sparse()}, tmp_path / "sparse.PT")
    dense = load_graph(str(tmp_path / "dense.npz"), seed=1)
    assert dense.x.tolist() == given["x"].tolist()
    assert dense.num_classes == 3
    for name in ("csr.npz", "data.pt", "dict.pt", "sparse.PT"):
        sparse = load_graph(str(tmp_path / name), seed=1)
        assert sparse.x.is_sparse is (name in ("csr.npz", "sparse.PT"))
        sparse.x = to_dense(sparse.x)
        assert same(dense, sparse), name


def test_own_masks_hold_unless_a_split_is_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "fedsieve")
    file = tmp_path / "g.npz"
    np.savez(file, **arrays(), **own_masks())
    data = load_graph(str(file), seed=1)
    for name, mask in own_masks().items():
        assert data[name].tolist() == mask.tolist()
    assert not caplog.messages
    split = load_graph(str(file), seed=1, split=Split(0.5, 0.25))
    assert [int(split[name].sum()) for name in MASKS] == [6, 3, 3]
    assert caplog.messages == [f"{file}: its own masks are replaced by the split that was asked for"]


@pytest.mark.parametrize(
    "masks",
    [
        {name: np.ones((N, 10), bool) for name in MASKS},
        {"train_mask": np.arange(N) < 3, "test_mask": np.arange(N) > 8},
        {name: np.arange(3) for name in MASKS},
    ],
)
def test_masks_that_are_of_no_use_matter_only_without_a_split(tmp_path: Path, masks: dict[str, Any]):
    np.savez(tmp_path / "g.npz", **arrays(), **masks)
    with pytest.raises(UserError, match=r"or split by shares: -s train-ratio=0.3 -s val-ratio=0.3"):
        load_graph(str(tmp_path / "g.npz"), seed=1)
    split = load_graph(str(tmp_path / "g.npz"), seed=1, split=Split(0.5, 0.25))
    assert [int(split[name].sum()) for name in MASKS] == [6, 3, 3]


def test_what_pyg_keeps_of_a_data_set_is_read(tmp_path: Path):
    graph = Data(**tensors(arrays()), words=["a"], year=np.int64(7), table=np.eye(2), size=1.5, names=np.array(["a"]))
    torch.save(Data(**tensors(arrays())), tmp_path / "plain.pt")
    torch.save(graph, tmp_path / "numpy.pt")
    torch.save((graph, None), tmp_path / "old.pt")
    torch.save((graph, {"y": torch.tensor([0, N])}), tmp_path / "older.pt")
    torch.save({key: np.asarray(value) for key, value in arrays().items()}, tmp_path / "arrays.pt")
    InMemoryDataset.save([graph], str(tmp_path / "data.pt"))
    plain = load_graph(str(tmp_path / "plain.pt"), seed=1)
    for name in ("numpy.pt", "old.pt", "older.pt", "arrays.pt", "data.pt"):
        assert same(plain, load_graph(str(tmp_path / name), seed=1)), name


def test_arrays_of_numpy_1_are_read(tmp_path: Path):
    torch.save(tensors(arrays()) | {"extra": np.eye(2)}, tmp_path / "new.pt")
    with zipfile.ZipFile(tmp_path / "new.pt") as new, zipfile.ZipFile(tmp_path / "g.pt", "w") as old:
        for name in new.namelist():
            old.writestr(name, new.read(name).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert b"numpy.core.multiarray" in (tmp_path / "g.pt").read_bytes()
    assert load_graph(str(tmp_path / "g.pt"), seed=1).num_nodes == N


def test_several_graphs_in_one_file_are_counted(tmp_path: Path):
    graph = Data(**tensors(arrays()))
    InMemoryDataset.save([graph, graph, graph], str(tmp_path / "data.pt"))
    with pytest.raises(UserError, match=r"data.pt is not a graph that can be read, for it holds 3 graphs and not one"):
        load_graph(str(tmp_path / "data.pt"), seed=1)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (HeteroData(), r"and a PyG Data \(torch_geometric\."),
        ({"x": np.array([[{}]], dtype=object)}, r"more than tensors, arrays and a PyG Data"),
        ((1, 2), "it holds a tuple of 2"),
        ([1, 2], "it holds a list"),
    ],
)
def test_what_else_is_in_a_pt_file_is_named(tmp_path: Path, given: object, sentence: str):
    torch.save(given, tmp_path / "g.pt")
    with pytest.raises(UserError, match=sentence):
        load_graph(str(tmp_path / "g.pt"), seed=1)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("g.csv", r"\.csv files are not read \(save a graph's arrays with numpy.savez, and"),
        ("g.gpickle", r"\.gpickle files are not read \(a pickle can run anything"),
        ("g.zip", r"\.zip files are not read \(unpack it first\)"),
        ("graph", "its name ends in nothing that is read"),
    ],
)
def test_a_file_that_is_there_is_not_unknown(tmp_path: Path, name: str, sentence: str):
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=rf"{name}': {sentence}.*; allowed are a graph that ends in .npz or .pt, and"):
        load_graph(str(tmp_path / name), seed=1)


def test_the_largest_component_is_cut_only_on_request(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "fedsieve")
    file = tmp_path / "g.pt"
    # nodes 0 to 7 are a path, 8 and 9 a pair, 10 and 11 alone
    path = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 8], [1, 2, 3, 4, 5, 6, 7, 9]])
    given = arrays() | own_masks()
    torch.save(tensors(given) | {"edge_index": torch.cat([path, path.flip(0)], dim=1)}, file)
    assert load_graph(str(file), seed=1).num_nodes == N
    cut = load_graph(str(file), seed=1, largest_component=True)
    assert cut.y.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert cut.train_mask.tolist() == [True, False, False, True, False, False, True, False]
    assert caplog.messages == [f"{file}: 4 of 12 nodes are outside the largest component and ignored"]


def test_what_is_not_used_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    np.savez(tmp_path / "g.npz", **arrays(), edge_time=np.ones(24), names=np.array(["a"] * N))
    load_graph(str(tmp_path / "g.npz"), seed=1)
    assert "edge_time, names ignored" in caplog.text
    caplog.clear()
    torch.save(Data(**tensors(arrays()), node_id=torch.ones(24)), tmp_path / "g.pt")
    load_graph(str(tmp_path / "g.pt"), seed=1)
    assert "node_id ignored" in caplog.text


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.command = f"touch {marker}"

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def as_zip(given: object, file: Path) -> None:
    torch.save(given, file)


def as_old_file(given: object, file: Path) -> None:
    torch.save(given, file, _use_new_zipfile_serialization=False)


def as_pickle(given: object, file: Path) -> None:
    file.write_bytes(pickle.dumps(given, protocol=2))


@pytest.mark.parametrize("write", [as_zip, as_old_file, as_pickle])
def test_a_pt_file_that_runs_a_command_is_refused_and_runs_nothing(tmp_path: Path, write: Any):
    file, marker = tmp_path / "evil.pt", tmp_path / "marker"
    write(tensors(arrays()) | {"extra": Payload(marker)}, file)
    with pytest.raises(UserError, match=r"evil.pt is not a graph.*more than tensors, arrays and a PyG Data"):
        load_graph(str(file), seed=1)
    assert not marker.exists()


def test_no_other_class_is_unpickled_and_the_list_of_others_is_left_alone(tmp_path: Path):
    before = set(torch.serialization.get_safe_globals())
    assert HeteroData in before  # PyG puts it there, for all the process
    torch.save(HeteroData(), tmp_path / "hetero.pt")
    with pytest.raises(UserError, match=r"hetero.pt is not a graph"):
        load_graph(str(tmp_path / "hetero.pt"), seed=1)
    assert set(torch.serialization.get_safe_globals()) == before


def test_the_command_of_that_file_would_work(tmp_path: Path):
    as_zip({"extra": Payload(tmp_path / "marker")}, tmp_path / "evil.pt")
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert (tmp_path / "marker").exists()


def test_an_npz_with_objects_is_refused_and_runs_nothing(tmp_path: Path):
    marker = tmp_path / "marker"
    np.savez(tmp_path / "g.npz", **(arrays() | {"x": np.array([[Payload(marker)]] * N, dtype=object)}))
    with pytest.raises(UserError, match=r"g.npz is not a graph.*Python objects"):
        load_graph(str(tmp_path / "g.npz"), seed=1)
    assert not marker.exists()


def test_files_that_are_no_graph_are_refused_in_one_sentence(tmp_path: Path):
    np.savez(tmp_path / "good.npz", **arrays())
    torch.save(Data(**tensors(arrays())), tmp_path / "good.pt")
    for suffix in ("npz", "pt"):
        whole = (tmp_path / f"good.{suffix}").read_bytes()
        (tmp_path / f"half.{suffix}").write_bytes(whole[: len(whole) // 2])
        (tmp_path / f"empty.{suffix}").write_bytes(b"")
        (tmp_path / f"text.{suffix}").write_text("node,label\n0,1\n")
        (tmp_path / f"zip.{suffix}").write_bytes(b"PK\x03\x04" + bytes(100))
    np.save(tmp_path / "bare.npy", np.eye(3))
    (tmp_path / "bare.npy").rename(tmp_path / "bare.npz")
    torch.save(torch.ones(3), tmp_path / "bare.pt")
    names = [f"{kind}.{suffix}" for kind in ("half", "empty", "text", "zip", "bare") for suffix in ("npz", "pt")]
    for name in names:
        with pytest.raises(UserError, match=rf"{name} is not a graph that can be read, for .*give a") as caught:
            load_graph(str(tmp_path / name), seed=1)
        assert "\n" not in str(caught.value), name


def test_a_damaged_byte_inside_is_refused(tmp_path: Path):
    np.savez_compressed(tmp_path / "g.npz", **arrays())
    content = bytearray((tmp_path / "g.npz").read_bytes())
    content[60:70] = bytes(10)
    (tmp_path / "g.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"g.npz is not a graph"):
        load_graph(str(tmp_path / "g.npz"), seed=1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"x_shape": None}, "give the features either as x or as all of x_data"),
        ({"x": np.eye(N)}, "give the features either as x or as all of"),
        ({"x_indices": np.full(3, 99)}, "are no CSR matrix that fits in memory"),
        ({"x_indptr": np.arange(4)}, "are no CSR matrix"),
        ({"x_shape": np.array([N])}, "are no CSR matrix"),
    ],
)
def test_a_broken_csr_matrix_is_refused(tmp_path: Path, changes: dict[str, Any], sentence: str):
    csr = sp.csr_matrix(np.eye(N, 3))
    given = arrays() | {"x_data": csr.data, "x_indices": csr.indices, "x_indptr": csr.indptr, "x_shape": csr.shape}
    given = {key: value for key, value in (given | {"x": None} | changes).items() if value is not None}
    np.savez(tmp_path / "g.npz", **given)
    with pytest.raises(UserError, match=sentence):
        load_graph(str(tmp_path / "g.npz"), seed=1)


@pytest.mark.parametrize("value", [3, "a", None])
def test_only_tensors_count_in_a_pt_file(tmp_path: Path, value: object):
    torch.save(tensors(arrays()) | {"y": value}, tmp_path / "g.pt")
    expected = "y is missing" if value is None else f"y is a {type(value).__name__}; it must be a tensor"
    with pytest.raises(UserError, match=expected):
        load_graph(str(tmp_path / "g.pt"), seed=1)


def test_a_tensor_without_values_is_refused(tmp_path: Path):
    torch.save(tensors(arrays()) | {"x": torch.empty(N, 2, device="meta")}, tmp_path / "g.pt")
    with pytest.raises(UserError, match=r"g.pt: x is a torch.float32 tensor that no plain array can hold"):
        load_graph(str(tmp_path / "g.pt"), seed=1)


def test_a_path_that_leads_nowhere_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"dataset = '.*gone.npz': there is no such file"):
        load_graph(str(tmp_path / "gone.npz"), seed=1)
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(UserError, match="there is no such file"):
        load_graph(str(tmp_path / "folder.pt"), seed=1)


@pytest.mark.parametrize(("name", "hint"), [("coar", r" \(did you mean cora\?\)"), ("graph.csv", ""), ("", "")])
def test_an_unknown_name_lists_what_is_allowed(name: str, hint: str):
    allowed = r"allowed are digits-knn, cora.*\.npz or \.pt"
    with pytest.raises(UserError, match=rf"dataset = '{name}' is unknown{hint}; {allowed}"):
        load_graph(name, seed=1)


@pytest.mark.parametrize("suffix", ["npz", "pt"])
def test_what_edges_carry_stays_with_them_in_the_largest_component(suffix: str, tmp_path: Path):
    edges = np.array([[0, 1, 5, 6, 2, 2], [1, 2, 6, 5, 0, 2]])
    given = {"x": np.eye(8), "y": np.arange(8) % 2, "edge_index": edges}
    given |= {"edge_weight": np.arange(6.0), "edge_attr": np.arange(12.0).reshape(6, 2)}
    file = tmp_path / f"g.{suffix}"
    np.savez(file, **given) if suffix == "npz" else torch.save(Data(**tensors(given)), file)
    whole = load_graph(str(file), seed=1)
    assert whole.edge_index.tolist() == edges.tolist()
    data = load_graph(str(file), seed=1, largest_component=True)
    assert data.edge_index.tolist() == [[0, 1, 2, 2], [1, 2, 0, 2]]
    assert data.edge_weight.tolist() == [0, 1, 4, 5]
    assert data.edge_attr.tolist() == [[0, 1], [2, 3], [8, 9], [10, 11]]


def csr_parts(prefix: str, matrix: Any) -> dict[str, Any]:
    rows = sp.csr_matrix(matrix)
    return {f"{prefix}_{part}": np.asarray(getattr(rows, part)) for part in ("data", "indices", "indptr", "shape")}


def adjacency() -> np.ndarray:
    dense = np.zeros((N, N))
    dense[tuple(arrays()["edge_index"])] = 1
    return dense


def in_scipys_way() -> dict[str, Any]:
    objects = np.array([{}], dtype=object)  # as in the files of Shchur et al. (2018), which are not to be unpickled
    return (
        csr_parts("adj", adjacency()) | csr_parts("attr", arrays()["x"]) | {"labels": arrays()["y"], "names": objects}
    )


def in_heterophilous_way() -> dict[str, Any]:
    masks = {f"{name}s": np.stack([mask, ~mask]) for name, mask in own_masks().items()}
    return {"node_features": arrays()["x"], "edges": arrays()["edge_index"].T, "node_labels": arrays()["y"]} | masks


@pytest.mark.parametrize("write", [in_scipys_way, in_heterophilous_way])
def test_files_of_others_give_the_same_graph(write: Any, tmp_path: Path):
    np.savez(tmp_path / "plain.npz", **arrays(), **own_masks())
    np.savez(tmp_path / "g.npz", **write())
    plain, other = (load_graph(str(tmp_path / name), seed=1, number=0) for name in ("plain.npz", "g.npz"))
    assert to_dense(other.x).equal(plain.x)
    assert other.edge_index.equal(plain.edge_index)
    assert other.y.equal(plain.y)
    if "train_masks" in write():
        assert other.train_mask.equal(plain.train_mask)


@pytest.mark.parametrize("key", ["adj", "adj_t"])
def test_a_pt_file_may_hold_an_adjacency(key: str, tmp_path: Path):
    one_way = np.triu(adjacency())
    given = torch.from_numpy(one_way.T.copy() if key == "adj_t" else one_way).to_sparse_csr()
    rest = {name: value for name, value in tensors(arrays()).items() if name != "edge_index"}
    torch.save(rest | {key: given}, tmp_path / "g.pt")
    assert load_graph(str(tmp_path / "g.pt"), seed=1).edge_index.tolist() == np.stack(np.nonzero(one_way)).tolist()


def test_the_values_of_an_adjacency_are_the_edges_weights_unless_all_are_1(tmp_path: Path):
    weighted = adjacency() * np.arange(1, N + 1)  # column j weighs j + 1
    np.savez(tmp_path / "g.npz", **csr_parts("adj", weighted), x=arrays()["x"], y=arrays()["y"])
    torch.save({"adj_t": torch.from_numpy(weighted.T.copy()).to_sparse_csr(), "x": tensors(arrays())["x"],
                "y": tensors(arrays())["y"]}, tmp_path / "g.pt")  # fmt: skip
    for name in ("g.npz", "g.pt"):
        graph = load_graph(str(tmp_path / name), seed=1)
        assert graph.edge_weight.tolist() == (graph.edge_index[1] + 1).tolist()
    np.savez(tmp_path / "plain.npz", **csr_parts("adj", adjacency()), x=arrays()["x"], y=arrays()["y"])
    assert "edge_weight" not in load_graph(str(tmp_path / "plain.npz"), seed=1)


def test_a_one_way_list_of_edges_is_hinted_at_and_made_undirected_on_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    whole = arrays()
    np.savez(tmp_path / "whole.npz", **whole)
    np.savez(tmp_path / "half.npz", **whole | {"edge_index": whole["edge_index"][:, :N]})
    expected = load_graph(str(tmp_path / "whole.npz"), seed=1)
    assert not caplog.messages
    load_graph(str(tmp_path / "half.npz"), seed=1)
    assert "-s undirected=true adds the other direction" in caplog.text
    assert same(expected, load_graph(str(tmp_path / "half.npz"), seed=1, undirected=True))


def test_one_of_several_splits_is_taken(tmp_path: Path):
    several = {name: np.stack([~mask, mask], axis=1) for name, mask in own_masks().items()}
    np.savez(tmp_path / "g.npz", **arrays(), **several)
    data = load_graph(str(tmp_path / "g.npz"), seed=1, number=1)
    assert [data[name].tolist() for name in MASKS] == [mask.tolist() for mask in own_masks().values()]
    with pytest.raises(UserError, match=r"train_mask holds 2 splits; .* with -s split=0 to split=1, or split by"):
        load_graph(str(tmp_path / "g.npz"), seed=1)
    with pytest.raises(UserError, match=r"train_mask holds 2 splits"):
        load_graph(str(tmp_path / "g.npz"), seed=1, number=2)


@pytest.mark.parametrize("names", [("train_idx", "valid_idx", "test_idx"), MASKS])
def test_masks_may_be_nodes_numbers(names: tuple[str, ...], tmp_path: Path):
    numbers = {name: np.flatnonzero(mask) for name, mask in zip(names, own_masks().values(), strict=True)}
    np.savez(tmp_path / "g.npz", **arrays(), **numbers)
    data = load_graph(str(tmp_path / "g.npz"), seed=1)
    assert [data[name].tolist() for name in MASKS] == [mask.tolist() for mask in own_masks().values()]
    np.savez(tmp_path / "g.npz", **arrays(), **numbers | {names[1]: np.array([1, N])})
    with pytest.raises(UserError, match=r"val_mask names nodes from 1 to 12; allowed are 0 to 11, or split by shares"):
        load_graph(str(tmp_path / "g.npz"), seed=1)


def test_numbers_of_nodes_that_could_be_zeros_and_ones_are_numbers_beside_others_that_could_not(tmp_path: Path):
    graph = {"x": np.eye(2), "edge_index": np.zeros((2, 0), int), "y": np.zeros(2, int)}
    np.savez(tmp_path / "g.npz", **graph, train_idx=np.array([1, 0]), val_idx=np.array([]), test_idx=np.array([]))
    assert load_graph(str(tmp_path / "g.npz"), seed=1, part=True).train_mask.tolist() == [True, True]


def test_a_missing_word_is_no_class(tmp_path: Path):
    words = np.array(["cat", "dog", None, float("nan")] * (N // 4), dtype=object)
    data = load_graph("g", seed=1, given=arrays() | {"y": words}, split=Split(0.4, 0.3))
    assert data.class_names == ("cat", "dog")
    assert data.y.tolist() == [0, 1, -1, -1] * (N // 4)


def test_sparse_features_stay_sparse_and_float32_in_the_largest_component_too(tmp_path: Path):
    given = {key: value for key, value in arrays().items() if key != "x"} | csr_parts("x", arrays()["x"])
    pair = np.array([[0, 1], [1, 0]])
    np.savez(tmp_path / "g.npz", **given | {"edge_index": pair})
    data = load_graph(str(tmp_path / "g.npz"), seed=1, split=Split(0.3, 0.3), largest_component=True, part=True)
    assert data.x.is_sparse
    assert data.x.dtype == torch.float32
    assert to_dense(data.x).tolist() == arrays()["x"][:2].tolist()
