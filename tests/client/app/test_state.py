from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedsieve.client.app.state import DiskStore
from fedsieve.errors import UserError


def state(value: float) -> dict[str, torch.Tensor]:
    return {"mask/w": torch.full((2, 3), float(value)), "optimizer/step/w": torch.tensor(float(value))}


def value(store: DiskStore, client: int, round_: int) -> float | None:
    loaded = store.load(client, round_)
    return None if loaded is None else loaded["mask/w"][0, 0].item()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "states")


def test_before_the_first_round_a_state_is_empty_and_one_never_saved_is_not_there(store: DiskStore):
    assert store.load(0, 0) == {}
    assert store.load(0, 1) is None


def test_clients_are_kept_apart(store: DiskStore):
    for client in (1, 11):
        store.save(client, 1, state(client), 0)
    assert (value(store, 1, 1), value(store, 11, 1), value(store, 0, 1)) == (1, 11, None)


def test_the_state_after_the_round_asked_for_is_loaded_be_it_the_newest_or_not(store: DiskStore):
    for round_, before in ((9, 0), (10, 9), (100, 10)):
        store.save(0, round_, state(round_), before)
    assert [value(store, 0, round_) for round_ in (9, 10, 100, 99)] == [9, 10, 100, None]


def test_tensors_come_back_as_they_were(store: DiskStore):
    kept = state(0.5) | {"transposed": torch.arange(6.0).reshape(2, 3).t(), "whole": torch.tensor([1, 2])}
    store.save(0, 1, dict(kept), 0)
    loaded = store.load(0, 1)
    assert loaded is not None
    assert set(loaded) == set(kept)
    assert all(torch.equal(loaded[name], kept[name]) and loaded[name].dtype == kept[name].dtype for name in kept)


def test_a_state_changed_in_place_and_never_saved_is_as_it_was(store: DiskStore):
    store.save(0, 1, state(1), 0)
    for tensor in (store.load(0, 1) or {}).values():
        tensor.add_(1)
    assert value(store, 0, 1) == 1


def test_the_last_round_and_the_two_that_checkpoints_name_are_kept(tmp_path: Path, store: DiskStore):
    for round_ in (8, 9, 10, 11, 12):
        store.save(0, round_, state(round_), 0 if round_ == 8 else round_ - 1)
    assert files(tmp_path) == ["00000010.safetensors", "00000011.safetensors", "00000012.safetensors"]


def test_a_round_whose_reply_never_arrives_does_not_push_out_what_the_server_goes_on_from(store: DiskStore):
    store.save(0, 3, state(3), 0)
    for round_ in (5, 6, 7, 8):
        assert value(store, 0, 3) == 3
        store.save(0, round_, state(round_), 3)
    assert [value(store, 0, round_) for round_ in (3, 5, 6, 7, 8)] == [3, None, None, None, 8]


def test_a_server_that_goes_back_finds_the_state_it_asks_for_and_later_ones_go(store: DiskStore):
    for round_ in (1, 2, 3, 4):
        store.save(0, round_, state(round_), round_ - 1)
    assert value(store, 0, 2) == 2
    store.save(0, 3, state(30), 2)
    assert [value(store, 0, round_) for round_ in (2, 3, 4)] == [2, 30, None]


@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["usable", "lost", "killed", "killed twice"])), max_size=20)
)
def test_whatever_happens_the_server_finds_what_it_goes_on_from(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[tuple[int, str]]
):
    """The server of a deployment: a checkpoint after each round; killed it goes back one round, or two if the newest
    checkpoint is broken."""
    store = DiskStore(tmp_path_factory.mktemp("states"))
    number, checkpoints = 0, [(0, 0), (0, 0)]  # of the last two: round, and the round that the client continues
    for skipped, event in rounds:
        number += skipped
        continues = checkpoints[-1][1]
        loaded = store.load(0, continues)
        assert loaded is not None
        assert loaded == {} if continues == 0 else loaded["mask/w"][0, 0] == continues
        store.save(0, number, state(number), continues)
        if event in {"usable", "lost"}:
            checkpoints = [checkpoints[-1], (number, number if event == "usable" else continues)]
        else:
            checkpoints = [checkpoints[0]] * 2 if event == "killed twice" else checkpoints
            number = checkpoints[-1][0]


@pytest.mark.parametrize("keep", [0, 1, 20])
def test_a_file_cut_off_is_not_there(keep: int, tmp_path: Path, store: DiskStore):
    store.save(0, 1, state(1), 0)
    store.save(0, 2, state(2), 1)
    last = max(tmp_path.rglob("*.safetensors"))
    last.write_bytes(last.read_bytes()[:keep])
    assert store.load(0, 2) is None
    assert value(store, 0, 1) == 1


def test_a_write_that_fails_leaves_the_states_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = DiskStore(tmp_path)
    store.save(0, 1, state(1), 0)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fedsieve.files.os.fsync", full)
    with pytest.raises(UserError, match=r"cannot be written: No space left"):
        store.save(0, 2, state(2), 1)
    assert value(DiskStore(tmp_path), 0, 1) == 1
    assert files(tmp_path) == ["00000001.safetensors"]
