from pathlib import Path

import pytest

from fedsieve.runs.layout import RunLayout, manifest_file, manifests, round_of_file, server_client_file, state_file


def test_a_clients_models_are_those_of_its_number_alone(tmp_path: Path):
    layout = RunLayout(tmp_path)
    assert layout.clients_with_models() == []
    layout.models.mkdir()
    for path in (
        layout.model_of(None),
        layout.model_of(10),
        layout.model_of(2),
        layout.models / "client-x.safetensors",
    ):
        path.touch()
    (layout.models / f".{layout.model_of(3).name}.partial").touch()
    assert layout.clients_with_models() == [2, 10]


def test_the_newest_manifest_comes_first(tmp_path: Path):
    for round_ in (9, 10, 8):
        (tmp_path / manifest_file(round_)).touch()
    (tmp_path / "manifest-of-mine.json").touch()
    assert [path.name for path in manifests(tmp_path)][:3] == [manifest_file(round_) for round_ in (10, 9, 8)]


@pytest.mark.parametrize(
    ("name", "round_"),
    [
        (state_file(12, 3), 3),
        (server_client_file(12, 4), 4),
        (manifest_file(5), 5),
        (f".{state_file(1, 6)}.partial", 6),
        ("notes.txt", None),
        ("client-1.safetensors.mine", None),
    ],
)
def test_a_checkpoints_file_says_its_round(name: str, round_: int | None):
    assert round_of_file(name) == round_
