from pathlib import Path

import pytest
import torch

from fedsieve.client.state import DiskStore, MemoryStore
from fedsieve.errors import UserError


def state(value: float) -> dict[str, torch.Tensor]:
    return {"mask/w": torch.full((2, 3), value), "optimizer/step/w": torch.tensor(value)}


def value(store: DiskStore | MemoryStore, client: int) -> float | None:
    loaded = store.load(client)
    return loaded["mask/w"][0, 0].item() if loaded else None


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> DiskStore | MemoryStore:
    return MemoryStore() if request.param == "memory" else DiskStore(tmp_path / "states")


def test_a_client_without_a_state_has_an_empty_one(store: DiskStore | MemoryStore):
    assert store.load(0) == {}


def test_clients_are_kept_apart(store: DiskStore | MemoryStore):
    for client in (1, 11):
        store.save(client, 1, state(client))
    assert (value(store, 1), value(store, 11), value(store, 0)) == (1, 11, None)


def test_the_newest_state_is_loaded(store: DiskStore | MemoryStore):
    for round_ in (9, 10, 100):
        store.save(0, round_, state(round_))
    assert value(store, 0) == 100


def test_tensors_come_back_as_they_were(tmp_path: Path):
    kept = state(0.5) | {"transposed": torch.arange(6.0).reshape(2, 3).t(), "whole": torch.tensor([1, 2])}
    DiskStore(tmp_path).save(0, 1, kept)
    loaded = DiskStore(tmp_path).load(0)
    assert set(loaded) == set(kept)
    assert all(torch.equal(loaded[name], kept[name]) and loaded[name].dtype == kept[name].dtype for name in kept)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_the_last_two_rounds_are_kept(tmp_path: Path):
    store = DiskStore(tmp_path)
    for round_ in (8, 9, 10, 11):
        store.save(0, round_, state(round_))
    assert files(tmp_path) == ["00000010.safetensors", "00000011.safetensors"]


@pytest.mark.parametrize("keep", [0, 1, 20])
def test_a_file_cut_off_is_passed_over_for_the_one_before(tmp_path: Path, keep: int):
    store = DiskStore(tmp_path)
    store.save(0, 1, state(1))
    store.save(0, 2, state(2))
    last = max(tmp_path.rglob("*.safetensors"))
    last.write_bytes(last.read_bytes()[:keep])
    assert value(store, 0) == 1
    min(tmp_path.rglob("*.safetensors")).write_bytes(b"")
    assert store.load(0) == {}


def test_a_write_that_fails_leaves_the_states_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = DiskStore(tmp_path)
    store.save(0, 1, state(1))

    def full(_: object, path: Path, *__: object) -> None:
        Path(path).write_bytes(b"half a fi")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fedsieve.client.state.save_file", full)
    with pytest.raises(UserError, match=r"cannot be written: .*No space left"):
        store.save(0, 2, state(2))
    assert value(DiskStore(tmp_path), 0) == 1
