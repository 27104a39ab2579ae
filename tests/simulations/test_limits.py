"""A run whose states do not fit into memory gives the numbers of one whose states do, and leaves nothing behind."""

from pathlib import Path

import pytest
from safetensors.numpy import load_file

from fedsieve.client import state
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
    written: list[str] = []
    write = state._write
    monkeypatch.setattr(state, "_write", lambda kept, path: (written.append(path.name), write(kept, path)))
    assert contents(simulated(tmp_path / "disk", keys, state_memory_mb=0)) == expected
    assert set(written) == {f"client-{client}.safetensors" for client in range(4)}
    assert not (tmp_path / "disk" / "states").exists()
