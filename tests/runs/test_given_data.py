from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from fedsieve.client.app.client_app import make_client_app
from fedsieve.client.app.state import DiskStore
from fedsieve.config import parse, read
from fedsieve.reports.head import describe_run
from fedsieve.reports.settings import group_by_setting, make_title
from fedsieve.runs.given_data import describe_given_data
from fedsieve.runs.reading import read_run
from fedsieve.server.app import make_server_app
from fedsieve.simulations.flower_internals import SUPERLINK_NODE_ID
from fedsieve.simulations.grid import FIRST_NODE_ID, RUN_ID
from fedsieve.simulations.inline import InlineGrid
from tests.helpers import config, summary_of, write_graph


def run_on(devices: tuple[int, ...], folder: Path, **keys: Any) -> Path:
    """Run two clients, those in `devices` with a graph of their own, and return the run's folder."""
    run = config({"algorithm": "fed-avg", "num-clients": 2, "num-rounds": 1, "hidden-dim": 4} | keys)
    run = run.model_copy(update={"out": str(folder / "run")})
    grid = InlineGrid(make_client_app(lambda _: DiskStore(folder / "states")), 2, run.flat())
    for client in devices:
        data = write_graph(folder / f"{client}.npz", per_class=10, seed=client)
        if client == 0:  # whose examples are of one class
            arrays = dict(np.load(data))
            np.savez(data, **arrays | {"y": np.zeros_like(arrays["y"])})
        grid._contexts[FIRST_NODE_ID + client].node_config["data"] = str(data)
    app = make_server_app(engine="inline", export=False, quiet=True)
    app(grid, Context(RUN_ID, SUPERLINK_NODE_ID, {}, RecordDict(), run.flat()))
    return folder / "run"


@pytest.mark.parametrize("killed", [False, True])
def test_a_run_on_devices_own_data_is_recorded_as_such(tmp_path: Path, *, killed: bool):
    found = run_on((0, 1), tmp_path)
    assert {key: summary_of(found)[key] for key in ("dataset", "partition", "own_data")} == {
        "dataset": "own data of 2 devices",
        "partition": "given",
        "own_data": 2,
    }
    if killed:
        (found / "summary.json").unlink()
    record = read_run(found)
    assert make_title(group_by_setting([record])) == "own data of 2 devices, given, 2 clients, 1 round"
    assert record.title == "fed-avg on own data of 2 devices"
    assert describe_run(record).startswith("2 clients, trained with fed-avg on own data of 2 devices; seed 42")
    assert "digits-knn, metis" not in record.settings
    assert record.settings.startswith("# The run was on own data of 2 devices: the keys dataset and partition say not")
    assert parse(read(found / "config.toml")).dataset == "digits-knn"


def test_where_only_some_devices_have_data_of_their_own_both_are_named(tmp_path: Path, graph_file: Path):
    found = run_on((1,), tmp_path, dataset=str(graph_file), partition="random")
    assert summary_of(found)["dataset"] == f"own data of 1 device and {graph_file.name}"
    assert summary_of(found)["partition"] == "given and random"
    words = f"on own data of 1 device and {graph_file.name}, which the partition random deals to the others; seed"
    assert words in describe_run(read_run(found))


def test_dealt_data_are_recorded_by_the_keys_alone():
    assert describe_given_data(config(), range(10), ()) == {}
