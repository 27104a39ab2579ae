from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedsieve.client.state import DiskStore, MemoryStore
from fedsieve.errors import UserError


def state(value: float) -> dict[str, torch.Tensor]:
    return {"mask/w": torch.full((2, 3), float(value)), "optimizer/step/w": torch.tensor(float(value))}


def value(store: DiskStore | MemoryStore, client: int) -> float | None:
    loaded = store.load(client)
    return loaded["mask/w"][0, 0].item() if loaded else None


SIZE = 6 * 4 + 4
"""Bytes of one state."""


@pytest.fixture(params=["memory", "some in memory", "none in memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> DiskStore | MemoryStore:
    limits = {"memory": 10**6, "some in memory": SIZE, "none in memory": 0}
    if request.param in limits:
        return MemoryStore(tmp_path / "states", limits[request.param])
    return DiskStore(tmp_path / "states")


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


def test_tensors_come_back_as_they_were(store: DiskStore | MemoryStore):
    kept = state(0.5) | {"transposed": torch.arange(6.0).reshape(2, 3).t(), "whole": torch.tensor([1, 2])}
    store.save(0, 1, dict(kept))
    loaded = store.load(0)
    assert set(loaded) == set(kept)
    assert all(torch.equal(loaded[name], kept[name]) and loaded[name].dtype == kept[name].dtype for name in kept)


def test_a_state_changed_in_place_and_never_saved_is_as_it_was(store: DiskStore | MemoryStore):
    store.save(0, 1, state(1))
    for tensor in store.load(0).values():
        tensor.add_(1)
    assert value(store, 0) == 1


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_the_last_two_rounds_are_kept(tmp_path: Path):
    store = DiskStore(tmp_path)
    for round_ in (8, 9, 10, 11):
        store.save(0, round_, state(round_))
    assert files(tmp_path) == ["00000010.safetensors", "00000011.safetensors"]


def test_those_longest_not_used_are_on_disk_and_come_back(tmp_path: Path):
    store = MemoryStore(tmp_path / "states", 2 * SIZE)
    for client in range(3):
        store.save(client, 1, state(client))
    assert files(tmp_path) == ["client-0.safetensors"]
    store.load(1)
    store.save(0, 2, state(10))
    assert files(tmp_path) == ["client-0.safetensors", "client-2.safetensors"]
    assert [value(store, client) for client in range(4)] == [10, 1, 2, None]


@given(
    st.integers(0, 4),
    st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(1, 3)), max_size=20),
)
def test_any_limit_gives_what_unlimited_memory_gives_and_holds(limit: int, calls: list[tuple[bool, int, int]]):
    with TemporaryDirectory() as folder, MemoryStore(Path(folder) / "states", limit * SIZE) as store:
        saved: dict[int, dict[str, torch.Tensor]] = {}
        for number, (saves, client, copies) in enumerate(calls):
            if saves:
                saved[client] = {f"{copy}/{name}": t for copy in range(copies) for name, t in state(number).items()}
                store.save(client, number, dict(saved[client]))
            loaded, kept = store.load(client), saved.get(client, {})
            assert set(loaded) == set(kept)
            assert all(torch.equal(loaded[name], tensor) for name, tensor in kept.items())
            in_memory = [tensor.nbytes for held in store._states.values() for tensor in held.values()]
            assert sum(in_memory) == store._used <= limit * SIZE


def test_a_full_disk_leaves_all_states_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = MemoryStore(tmp_path / "states", 2 * SIZE)
    for client in (0, 1):
        store.save(client, 1, state(client))

    def full(_: object, path: Path, *__: object) -> None:
        Path(path).write_bytes(b"half a fi")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fedsieve.client.state.save_file", full)
    with pytest.raises(UserError, match=r"client-0.* cannot be written: .*No space left"):
        store.save(2, 1, state(2))
    assert [value(store, client) for client in range(3)] == [0, 1, None]
    store.save(1, 2, state(5))
    assert [value(store, client) for client in range(3)] == [0, 5, None]


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, UserError])
def test_what_was_written_is_removed_however_the_store_is_left(tmp_path: Path, error: type[BaseException] | None):
    (tmp_path / "mine").write_text("kept")
    with suppress(KeyboardInterrupt, UserError), MemoryStore(tmp_path / "states", 0) as store:
        store.save(0, 1, state(1))
        assert files(tmp_path) == ["client-0.safetensors", "mine"]
        if error is not None:
            raise error("in mid-run")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_that_was_not_needed_is_left_alone(tmp_path: Path):
    (tmp_path / "mine").write_text("kept")
    with MemoryStore(tmp_path, SIZE) as store:
        store.save(0, 1, state(1))
    assert files(tmp_path) == ["mine"]


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
