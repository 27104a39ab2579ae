import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from fedsieve.client.app.graph_task import GraphTask
from fedsieve.client.app.holdings import Images, Subgraph, deal_simulated, load_own
from fedsieve.client.app.image_task import ImageTask
from fedsieve.contract import Shape
from fedsieve.data.checks import MAX_CLASSES
from fedsieve.errors import UserError
from tests.helpers import config, write_graph

CPU = torch.device("cpu")


def picture(shade: int) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (4, 3), (shade, 0, shade)).save(written, "PNG")
    return written.getvalue()


def parquet(path: Path, labels: list[int]) -> Path:
    pq.write_table(pa.table({"image": [picture(10 * label) for label in labels], "label": labels}), path)
    return path


def test_clients_of_a_simulation_hold_parts_of_one_graph(graph_file: Path):
    run = config(dataset=str(graph_file), num_clients=3, partition="random")
    held = deal_simulated(run)
    assert [type(holding) for holding in held] == [Subgraph] * 3
    # the classes are those of the whole graph, whichever a client has
    assert {holding.shape for holding in held} == {Shape((3,), 3)}
    assert sum(holding.graph.num_nodes for holding in held) == 90  # type: ignore[attr-defined]
    assert deal_simulated(run) is held


def test_clients_of_a_simulation_hold_parts_of_one_set_of_images():
    run = config(dataset="digits", num_clients=4, partition="iid", examples_per_client=20)
    held = deal_simulated(run)
    assert [type(holding) for holding in held] == [Images] * 4
    assert {holding.shape for holding in held} == {Shape((1, 8, 8), 10)}
    tasks = [holding.task(run, holding.proxy(1, CPU), CPU) for holding in held]
    assert [type(task) for task in tasks] == [ImageTask] * 4
    # of 20 images 0.2 / 0.8 are for validation
    assert [task.num_examples for task in tasks] == [15] * 4
    assert len({id(holding.data) for holding in held}) == 1  # type: ignore[attr-defined]


def test_a_batch_has_the_runs_size():
    run = config(dataset="digits", num_clients=4, partition="iid", batch_size=7, examples_per_client=20)
    first = deal_simulated(run)[0]
    task = first.task(run, first.proxy(1, CPU), CPU)
    assert [len(labels) for _, labels in task.batches()] == [7, 7, 1]


def test_proxies_are_the_same_for_all_clients_of_a_run_and_hold_none_of_their_data(graph_file: Path):
    one, other = deal_simulated(config(dataset="digits", num_clients=2, partition="pathological"))
    assert torch.equal(one.proxy(1, CPU), other.proxy(1, CPU))
    assert not torch.equal(one.proxy(1, CPU), one.proxy(2, CPU))
    assert one.proxy(1, CPU).shape == (100, 1, 8, 8)
    one, other = deal_simulated(config(dataset=str(graph_file), num_clients=2, partition="random"))
    assert torch.equal(one.proxy(1, CPU).x, other.proxy(1, CPU).x)
    assert not torch.equal(one.proxy(1, CPU).x, one.proxy(2, CPU).x)


def test_a_graph_of_the_devices_own(tmp_path: Path):
    run = config(num_clients=2)
    held = load_own(str(write_graph(tmp_path / "own.npz", per_class=10, classes=4)), run)
    assert isinstance(held, Subgraph)
    assert held.shape == Shape((4,), 4)
    assert held.graph.num_nodes == 40
    task = held.task(run, held.proxy(run.seed, CPU), CPU)
    assert isinstance(task, GraphTask)
    assert task.num_examples > 0


def test_images_of_the_devices_own(tmp_path: Path):
    run = config(dataset="mnist", num_clients=2, examples_per_client=3)
    held = load_own(str(parquet(tmp_path / "own.parquet", [0, 1, 2] * 10)), run)
    assert isinstance(held, Images)
    assert held.shape == Shape((3, 3, 4), 3)
    # all of them, 60 : 20 : 20; a device's own are not cut to examples-per-client
    assert [len(part) for part in (held.part.train, held.part.val, held.part.test)] == [18, 6, 6]
    task = held.task(run, held.proxy(run.seed, CPU), CPU)
    ((images, labels),) = task.batches()
    assert sorted(labels.tolist()) == sorted(held.data.labels[held.part.train].tolist())
    # the red of an image is ten times its label
    assert ((images[:, 0, 0, 0] + 1) * 127.5).round().tolist() == (10 * labels).tolist()


def test_a_devices_own_images_are_split_as_the_run_says(tmp_path: Path):
    path = parquet(tmp_path / "own.parquet", [0, 1] * 10)
    run = config(dataset="mnist", train_ratio=0.5, val_ratio=0.4)
    held = load_own(str(path), run)
    assert isinstance(held, Images)
    assert [len(part) for part in (held.part.train, held.part.val, held.part.test)] == [10, 8, 2]
    again, other = (
        load_own(str(path), run),
        load_own(str(path), config(dataset="mnist", train_ratio=0.5, val_ratio=0.4, seed=7)),
    )
    assert isinstance(again, Images)
    assert isinstance(other, Images)
    assert np.array_equal(again.part.train, held.part.train)
    assert not np.array_equal(other.part.train, held.part.train)


@pytest.mark.parametrize("name", ["none.npz", "none.parquet"])
def test_data_of_its_own_that_are_not_there_are_one_sentence(name: str, tmp_path: Path):
    with pytest.raises(UserError, match="no such file"):
        load_own(str(tmp_path / name), config())


def test_a_partition_for_the_other_kind_of_data_is_one_sentence(graph_file: Path):
    with pytest.raises(UserError, match="allowed for images are iid, dirichlet"):
        deal_simulated(config(dataset="digits", partition="metis"))
    with pytest.raises(
        UserError, match=r"'dirichlet' is unknown \(did you mean label-dirichlet\?\); allowed for graphs are metis"
    ):
        deal_simulated(config(dataset=str(graph_file), partition="dirichlet"))


def test_keys_that_leave_no_client_with_validation_data_are_named(graph_file: Path):
    told = (
        r"^partition = iid, num-clients = 2, train-ratio = 0.0, val-ratio = 0.0, examples-per-client = 1: these leave "
    )
    with pytest.raises(UserError, match=told + "none of the 2 clients with images for validation"):
        deal_simulated(config(dataset="digits", num_clients=2, partition="iid", examples_per_client=1))
    # half of the only part, and 1 of its 90 nodes is for validation
    told = (
        r"^partition = metis-overlapping, num-clients = 1, data-seed = 2, train-ratio = 0.8, val-ratio = 0.01, "
        "clients-per-part = 5"
    )
    with pytest.raises(UserError, match=told + ": these leave none of the 1 clients with nodes for validation"):
        deal_simulated(config(dataset=str(graph_file), num_clients=1, partition="metis-overlapping", train_ratio=0.8,
                         val_ratio=0.01, data_seed=2))  # fmt: skip


def test_a_graph_may_have_as_many_classes_as_the_server_takes_and_no_more(tmp_path: Path):
    y = np.arange(MAX_CLASSES + 1) % MAX_CLASSES
    arrays = {"x": np.zeros((len(y), 1)), "edge_index": np.zeros((2, 0), dtype=np.int64)}
    fits = write_graph(tmp_path / "fits.npz", **arrays, y=y)
    run = config(dataset=str(fits), num_clients=1, partition="random")
    assert deal_simulated(run)[0].shape == Shape((1,), MAX_CLASSES)
    y[0] = MAX_CLASSES
    over = write_graph(tmp_path / "over.npz", **arrays, y=y)
    with pytest.raises(UserError, match=f"labels from 0 to {MAX_CLASSES}; allowed are 0 to {MAX_CLASSES - 1} "):
        load_own(str(over), run)


def test_images_may_be_as_large_as_the_server_takes_and_no_larger(tmp_path: Path):
    for height in (1000, 1001):
        for name, shade in (("a", 0), ("b", 9)):
            for number in range(3):
                path = tmp_path / str(height) / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (1000, height), shade).save(path)
    assert load_own(str(tmp_path / "1000"), config()).shape.input == (1, 1000, 1000)
    for hold in (load_own, lambda path, run: deal_simulated(config(dataset=path, num_clients=1))):
        with pytest.raises(
            UserError, match=r"1001: one example is 1 x 1001 x 1000, 1,001,000 numbers; allowed are at m"
        ):
            hold(str(tmp_path / "1001"), config())


def test_columns_of_images_are_refused_with_a_graph(graph_file: Path):
    with pytest.raises(UserError, match="label-column: got 'kind' with a graph, allowed: with "):
        deal_simulated(config(dataset=str(graph_file), label_column="kind"))
