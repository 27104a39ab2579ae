from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load

from fedsieve.errors import UserError
from fedsieve.runs.checkpoint_folder import CheckpointFolder
from fedsieve.simulations.states import KeptStates
from tests.runs.test_history import a_round, answered

SIZE = 6 * 4 + 4
"""Bytes of one state."""


def state(value: float) -> dict[str, torch.Tensor]:
    return {"mask/w": torch.full((2, 3), float(value)), "optimizer/step/w": torch.tensor(float(value))}


def value(states: KeptStates, client: int, round_: int) -> float | None:
    loaded = states.load(client, round_)
    return None if loaded is None else loaded["mask/w"][0, 0].item()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


Make = Callable[[int], KeptStates]


@pytest.fixture
def made(tmp_path: Path) -> Make:
    """States of which so many fit into memory."""
    return lambda limit: KeptStates(CheckpointFolder(tmp_path / "checkpoint"), limit * SIZE)


@pytest.mark.parametrize("limit", [0, 1, 100])
def test_a_state_is_that_after_the_round_asked_for(limit: int, made: Make):
    states = made(limit)
    assert states.load(0, 0) == {}
    assert states.load(0, 1) is None
    states.save(0, 1, state(1), 0)
    states.save(11, 1, state(11), 0)
    states.round_finished(a_round(1, answered(0, 0, 0), answered(11, 0, 0)))
    states.save(0, 2, state(2), 1)
    assert [value(states, *at) for at in ((0, 1), (0, 2), (11, 1), (1, 1))] == [1, 2, 11, None]


@pytest.mark.parametrize("limit", [0, 100])
def test_a_state_changed_in_place_and_never_saved_is_as_it_was(limit: int, made: Make):
    states = made(limit)
    states.save(0, 1, state(1), 0)
    for tensor in (states.load(0, 1) or {}).values():
        tensor.add_(1)
    assert value(states, 0, 1) == 1


@pytest.mark.parametrize("limit", [0, 1, 100])
def test_after_a_round_that_state_stays_which_the_server_goes_on_from(limit: int, made: Make, tmp_path: Path):
    states = made(limit)
    for client in (0, 1):
        states.save(client, 1, state(client), 0)
    states.round_finished(a_round(1, answered(0, 0, 0), answered(1, 0, 0)))
    for client in (0, 1):
        states.save(client, 2, state(10 + client), 1)
    states.round_finished(a_round(2, answered(0, 0, 0), rejected={1: "array w holds NaN"}))
    assert [value(states, *at) for at in ((0, 1), (0, 2), (1, 1), (1, 2))] == [None, 10, 1, None]
    assert len(files(tmp_path)) + len(states._states) == 2


def test_those_longest_not_used_are_in_files_and_come_back(made: Make, tmp_path: Path):
    states = made(2)
    for client in range(3):
        states.save(client, 1, state(client), 0)
    assert files(tmp_path) == ["client-0-1.safetensors"]
    states.load(1, 1)
    states.save(3, 1, state(3), 0)
    assert files(tmp_path) == ["client-0-1.safetensors", "client-2-1.safetensors"]
    assert [value(states, client, 1) for client in range(4)] == [0, 1, 2, 3]


def test_what_a_client_had_before_goes_to_disk_first(made: Make, tmp_path: Path):
    states = made(3)
    for client in range(2):
        states.save(client, 1, state(client), 0)
    states.save(1, 2, state(10), 1)
    states.save(2, 2, state(20), 0)
    assert files(tmp_path) == ["client-1-1.safetensors"]


@given(
    st.integers(0, 4),
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3), st.integers(1, 3)), max_size=20),
)
def test_any_limit_gives_what_unlimited_memory_gives_and_holds(limit: int, rounds: list[tuple[bool, bool, int, int]]):
    with TemporaryDirectory() as folder:
        states = KeptStates(CheckpointFolder(Path(folder)), limit * SIZE)
        kept: dict[int, tuple[int, dict[str, torch.Tensor]]] = {}
        for number, (trains, usable, client, copies) in enumerate(rounds, 1):
            continued, before = kept.get(client, (0, {}))
            loaded = states.load(client, continued)
            assert loaded is not None
            assert set(loaded) == set(before)
            assert all(torch.equal(loaded[name], tensor) for name, tensor in before.items())
            if trains:
                new = {f"{copy}/{name}": t for copy in range(copies) for name, t in state(number).items()}
                states.save(client, number, dict(new), continued)
                if usable:
                    kept[client] = number, new
            in_memory = sum(tensor.nbytes for held in states._states.values() for tensor in held.values())
            assert in_memory == states._used <= limit * SIZE
            told = [answered(client, 0, 0)] if usable else []
            states.round_finished(a_round(number, *told, rejected={} if usable else {client: "no"}))
        assert len(files(Path(folder))) + len(states._states) == len(kept)


def test_a_state_in_memory_gives_the_bytes_of_its_file(made: Make):
    states = made(1)
    states.save(0, 1, state(3), 0)
    assert load(states.packed(0, 1)())["mask/w"].tolist() == [[3] * 3] * 2


def test_a_full_disk_leaves_all_states_as_they_were(made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    states = made(2)
    for client in (0, 1):
        states.save(client, 1, state(client), 0)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("fedsieve.files.os.fsync", full)
        with pytest.raises(UserError, match=r"client-0-1.* cannot be written: No space left"):
            states.save(2, 1, state(2), 0)
    assert files(tmp_path) == []
    states.round_finished(a_round(1, answered(0, 0, 0), answered(1, 0, 0), rejected={2: "UserError"}))
    assert [value(states, client, 1) for client in range(3)] == [0, 1, None]
