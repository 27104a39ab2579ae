from pathlib import Path

import pytest

from fedsieve.client.app import resident
from fedsieve.client.app.resident import Resident
from tests.helpers import config


def test_a_devices_own_file_is_read_once_and_its_data_let_go(graph_file: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []
    real = resident.load_own
    monkeypatch.setattr(resident, "load_own", lambda path, run: [read.append(path), real(path, run)][1])
    device, own = Resident(config(num_clients=2)), {"data": str(graph_file)}
    assert device.holding(0, own).shape.num_classes == 3
    graph_file.unlink()
    task = device.task(0, own)
    assert task.num_examples > 0
    assert device.task(0, own) is task
    assert read == [str(graph_file)]
    assert device._holdings == {}


def test_clients_of_one_process_each_have_their_own(graph_file: Path):
    run = config(dataset=str(graph_file), num_clients=2, partition="random")
    process = Resident(run)
    assert process.holding(0, {}) is not process.holding(1, {})
    assert process.holding(0, {}) is process.holding(0, {})
    assert process.task(0, {}) is not process.task(1, {})
