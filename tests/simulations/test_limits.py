"""A run whose states do not fit into memory gives the numbers of one whose states do, and leaves nothing behind."""

from pathlib import Path

import pytest
from safetensors.numpy import load_file

from fedsieve.simulations import states
from tests.helpers import simulated

KEYS = {"num-clients": 4, "num-rounds": 4, "hidden-dim": 8, "fraction-train": 0.5}


def contents(folder: Path) -> dict[str, object]:
    """Return what must not depend on where states are kept: histories, models and checkpoint."""
    texts: dict[str, object] = {name: (folder / name).read_bytes() for name in ("rounds.jsonl", "clients.csv")}
    arrays = {
        f"{path.relative_to(folder)} {name}": (array.dtype, array.shape, array.tobytes())
        for path in sorted(folder.rglob("*.safetensors"))
        for name, array in load_file(path).items()
    }
    return texts | arrays


@pytest.mark.parametrize("algorithm", ["fed-pub", "fed-avg", "hide-n-seek", "local"])
def test_states_and_models_on_disk_change_no_bit(
    algorithm: str, graph_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    keys = KEYS | {"dataset": str(graph_file), "algorithm": algorithm}
    expected = contents(simulated(tmp_path / "memory", keys))
    loaded: list[str] = []
    load = states.load_file
    monkeypatch.setattr(states, "load_file", lambda path: (loaded.append(path.name), load(path))[1])
    assert contents(simulated(tmp_path / "disk", keys, state_memory_mb=0)) == expected
    assert {name.rpartition("-")[0] for name in loaded} == {f"client-{client}" for client in range(4)}
