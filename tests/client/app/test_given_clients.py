"""Clients whose data say whose they are: files of their own, a column, an array."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fedsieve.client.app.holdings import Images, Subgraph, deal_simulated, load_own
from fedsieve.client.app.parts import name_files
from fedsieve.errors import UserError
from tests.helpers import config, write_graph


def picture(shade: int, size: tuple[int, int] = (4, 3)) -> bytes:
    written = io.BytesIO()
    Image.new("L", size, shade).save(written, "PNG")
    return written.getvalue()


def parquet(path: Path, labels: list[int], size: tuple[int, int] = (4, 3), **columns: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [picture(10 * number, size) for number in range(len(labels))]
    pq.write_table(pa.table({"image": images, "label": labels, **columns}), path)
    return path


def shades(held: Images, part: str) -> list[int]:
    return [int(held.data.images[at].max()) // 10 for at in getattr(held.part, part)]


def three_sites(folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    for number, name in enumerate(("site-1", "site-2", "site-10")):
        write_graph(folder / f"{name}.npz", per_class=8, seed=number, **(changes if name == "site-10" else {}))
    return folder


def test_each_file_of_a_folder_is_a_client_with_what_a_device_reads_of_it(tmp_path: Path):
    run = config(dataset=str(three_sites(tmp_path / "sites")), partition="given")
    assert (run.num_clients, run.model) == (3, "gcn")
    held = deal_simulated(run)
    assert [one.client for one in held] == ["site-1", "site-2", "site-10"]
    for one in held:
        own = load_own(str(tmp_path / "sites" / f"{one.client}.npz"), run)
        assert isinstance(one, Subgraph)
        assert isinstance(own, Subgraph)
        assert one.shape == own.shape
        for key in ("x", "edge_index", "y", "train_mask", "val_mask", "test_mask"):
            assert one.graph[key].equal(own.graph[key]), key
    assert [one.count_labels() for one in held] == [[8, 8, 8]] * 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"x": np.ones((24, 5))}, r"site-10.npz: a node's features is of size 5, allowed: 3, as in site-1.npz"),
        (
            {"edge_index": np.array([[0, 1], [1, 0]]), "edge_attr": np.ones((2, 2))},
            r"site-10.npz: a node's features is of size 3 with 2 for each edge, allowed: 3, as in site-1.npz",
        ),
        ({"x": np.full((24, 3), np.nan)}, r"site-10.npz: x holds 72 values that are NaN"),
    ],
)
def test_the_file_that_differs_is_named_before_anything_trains(changes: dict[str, Any], sentence: str, tmp_path: Path):
    run = config(dataset=str(three_sites(tmp_path / "sites", **changes)), partition="given")
    with pytest.raises(UserError, match=sentence):
        deal_simulated(run)


def test_clients_that_name_other_classes_are_named(tmp_path: Path):
    folder = three_sites(tmp_path / "sites", y=np.repeat(["a", "b", "d"], 8))
    for number, name in enumerate(("site-1", "site-2")):
        write_graph(folder / f"{name}.npz", per_class=8, seed=number, y=np.repeat(["a", "b", "c"], 8))
    with pytest.raises(UserError, match=r"site-10.npz: its class 2 is 'd', allowed: 'c', as in site-1.npz"):
        deal_simulated(config(dataset=str(folder), partition="given"))


def test_a_client_may_lack_a_class_or_a_split(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    nodes = np.arange(24)
    masks = {"train_mask": nodes < 0, "val_mask": nodes < 12, "test_mask": nodes >= 12}
    folder = three_sites(tmp_path / "sites", y=np.full(24, 5), **masks)
    held = deal_simulated(config(dataset=str(folder), partition="given"))
    assert {one.names for one in held} == {("0", "1", "2", "5")}, "which are all that there are"
    assert held[2].count_labels() == [0, 0, 0, 24]
    assert held[2].counts == (0, 12, 12)
    assert "1 of 3 clients have no nodes for training: site-10" in caplog.text
    own = load_own(str(folder / "site-10.npz"), config())
    assert own.counts == (0, 12, 12)
    assert "site-10.npz: holds no example for training" in caplog.text


def test_labels_that_begin_at_1_are_mapped_alike_for_all_clients(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    folder = tmp_path / "sites"
    folder.mkdir()
    for name, years in (("a", (2000, 2005)), ("b", (2005, 2010))):
        write_graph(folder / f"{name}.npz", per_class=8, seed=1, y=np.repeat([*years, -1], 8))
    held = deal_simulated(config(dataset=str(folder), partition="given", num_clients=2))
    assert [one.names for one in held] == [("2000", "2005", "2010")] * 2
    assert [one.count_labels() for one in held] == [[8, 8, 0], [0, 8, 8]]
    assert "2000, 2005, 2010" in caplog.text


def test_a_client_without_a_label_is_read_where_its_file_says_which_classes_there_are(tmp_path: Path):
    folder = three_sites(tmp_path / "sites", y=np.full(24, -1), num_classes=3)
    held = deal_simulated(config(dataset=str(folder), partition="given"))
    assert held[2].count_labels() == [0, 0, 0]


def test_clients_that_do_not_name_their_classes_are_said_beside_those_that_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder = three_sites(tmp_path / "sites", y=np.repeat(["cat", "dog", "emu"], 8))
    deal_simulated(config(dataset=str(folder), partition="given"))
    assert "site-1.npz, site-2.npz: no names of classes, which are taken to be those of site-10.npz" in caplog.text


def test_a_name_that_continues_another_comes_after_it(tmp_path: Path):
    folder = tmp_path / "sites"
    folder.mkdir()
    for number, name in enumerate(("north", "north-east", "west")):
        write_graph(folder / f"{name}.npz", per_class=8, seed=number)
    held = deal_simulated(config(dataset=str(folder), partition="given"))
    assert [one.client for one in held] == name_files(["north", "north-east", "west"])


def test_another_number_of_clients_is_refused(tmp_path: Path):
    run = config(dataset=str(three_sites(tmp_path / "sites")), partition="given", num_clients=2)
    with pytest.raises(UserError, match=r"num-clients: got 2, allowed: 3, as many as .*sites has; left open"):
        deal_simulated(run)


@pytest.mark.parametrize("suffix", ["npz", "pt"])
def test_an_array_of_the_nodes_says_whose_they_are(suffix: str, tmp_path: Path):
    whose = np.array([f"h-{node % 3 + 9}" for node in range(24)])
    whose[0] = ""
    path = write_graph(tmp_path / "g.npz", per_class=8, client=whose, ward=np.arange(24) // 12)
    if suffix == "pt":
        import torch

        with np.load(path) as arrays:
            given = {key: arrays[key] for key in arrays.files if key != "client"}
        path = tmp_path / "g.pt"
        torch.save(given | {"client": whose.tolist()}, path)
    run = config(dataset=str(path), partition="given")
    held = deal_simulated(run)
    assert [one.client for one in held] == ["h-9", "h-10", "h-11"]
    assert [sum(one.count_labels()) for one in held] == [7, 8, 8]
    natural = config(dataset=str(path), partition="natural", column="ward")
    assert [one.client for one in deal_simulated(natural)] == ["0", "1"]


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"partition": "given"}, r"has no array 'client', which says whose each node is; allowed: one"),
        ({"partition": "natural", "column": "x"}, r"g.npz: x is of shape \(24, 3\); it must be one value a node"),
        ({"partition": "natural"}, "column: got '' with partition = 'natural', allowed: a column's name"),
        ({"partition": "random", "column": "ward"}, "column: got 'ward' with partition = 'random', allowed"),
        ({"partition": "given", "dataset": "digits-knn"}, "digits-knn: has no array 'client'"),
        ({"partition": "natural", "column": "a", "dataset": "digits"}, "column: got 'a', which digits does not have"),
    ],
)
def test_an_array_that_is_not_there_is_a_sentence(keys: dict[str, Any], sentence: str, tmp_path: Path):
    path = write_graph(tmp_path / "g.npz", per_class=8, ward=np.arange(24) // 12)
    with pytest.raises(UserError, match=sentence):
        config({"dataset": str(path)} | keys)


def test_parquet_files_and_folders_of_images_are_clients(tmp_path: Path):
    parquet(tmp_path / "clients" / "a.parquet", [0, 1] * 5)
    parquet(tmp_path / "clients" / "b" / "train.parquet", [0, 2] * 5)
    parquet(tmp_path / "clients" / "b" / "test.parquet", [2])
    run = config(dataset=str(tmp_path / "clients"), partition="given", model="mlp")
    held = deal_simulated(run)
    assert [one.client for one in held] == ["a", "b"]
    assert [one.count_labels() for one in held] == [[5, 5, 0], [5, 0, 6]]
    own = load_own(str(tmp_path / "clients" / "a.parquet"), run)
    assert isinstance(own, Images)
    assert isinstance(held[0], Images)
    assert shades(held[0], "train") == shades(own, "train")


def test_images_of_another_size_are_named(tmp_path: Path):
    for name in "abc":
        parquet(tmp_path / "clients" / f"{name}.parquet", [0, 1], (8, 8) if name == "b" else (4, 4))
    with pytest.raises(UserError, match=r"b.parquet: an image is of size 1 x 8 x 8, allowed: 1 x 4 x 4, as in a.parq"):
        deal_simulated(config(dataset=str(tmp_path / "clients"), partition="given"))


def test_a_column_says_whose_images_are_and_what_for(tmp_path: Path):
    splits = ["test", "train", "train", "val", "train", "train"]
    writers = ["w2", "w2", "w10", "w2", "w2", "w10"]
    path = parquet(tmp_path / "g.parquet", [0, 1, 0, 1, 0, 1], split=splits, writer_id=writers)
    held = deal_simulated(config(dataset=str(path), partition="natural", column="writer_id", model="mlp"))
    assert [one.client for one in held] == ["w2", "w10"]
    first, second = held
    assert isinstance(first, Images)
    assert isinstance(second, Images)
    assert [shades(first, part) for part in ("train", "val", "test")] == [[1, 4], [3], [0]]
    assert [shades(second, part) for part in ("train", "val", "test")] == [[2, 5], [], []]


def test_test_images_stay_with_their_holder(tmp_path: Path):
    parquet(tmp_path / "set" / "train.parquet", [0, 1] * 5, client=["a"] * 4 + ["b"] * 6)
    parquet(tmp_path / "set" / "test.parquet", [0, 1, 0], client=["b", "a", "b"])
    held = deal_simulated(config(dataset=str(tmp_path / "set"), partition="given", model="mlp"))
    assert [one.counts for one in held] == [(3, 1, 1), (5, 1, 2)]


@pytest.mark.parametrize(
    ("columns", "keys", "sentence"),
    [
        ({}, {"partition": "given"}, "g.parquet: has no column 'client'; allowed: label"),
        ({"split": ["x"] * 4}, {"partition": "iid"}, "g.parquet: split holds 'x'; allowed: train"),
    ],
)
def test_a_column_that_is_of_no_use_is_a_sentence(
    columns: dict[str, Any], keys: dict[str, Any], sentence: str, tmp_path: Path
):
    path = parquet(tmp_path / "g.parquet", [0, 1, 0, 1], **columns)
    with pytest.raises(UserError, match=sentence):
        deal_simulated(config({"dataset": str(path), "model": "mlp", "num-clients": 1} | keys))
