"""The documents say what the code does."""

import json
from pathlib import Path

import pytest

from fedsieve.algorithm import algorithm_names, kebab, load_algorithm
from fedsieve.config import keys

CONFIGURATION = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text(encoding="utf-8")


def documented_row(key: str, default: object, description: str | None) -> str:
    return f"| `{key}` | `{json.dumps(default)}` | {description} |"


@pytest.mark.parametrize("key", keys())
def test_every_run_key_is_documented_with_its_default(key: str) -> None:
    assert documented_row(key, *keys()[key]) in CONFIGURATION


@pytest.mark.parametrize("algorithm", algorithm_names())
def test_every_key_of_an_algorithm_is_documented_with_its_default(algorithm: str) -> None:
    for name, field in load_algorithm(algorithm).config.model_fields.items():
        assert documented_row(f"{algorithm}.{kebab(name)}", field.default, field.description) in CONFIGURATION
