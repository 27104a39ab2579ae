"""The documents say what the code does."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from fedsieve.algorithms import ENTRY_POINTS, algorithm_names, kebab, load_algorithm
from fedsieve.allowed import allowed
from fedsieve.config import RunConfig
from fedsieve.data import DATASETS, PARTITIONS
from fedsieve.data.image_cuts import IMAGE_PARTITIONS
from fedsieve.kinds import IMAGE_NAMES
from fedsieve.masks.family import family_names, load_family
from fedsieve.masks.pruning import pruner_names
from fedsieve.models import MODELS
from fedsieve.plugins import plugin_of
from fedsieve.simulations import ENGINES

CONFIGURATION = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text(encoding="utf-8")

BUILT_IN = [name for name in algorithm_names() if plugin_of(ENTRY_POINTS, name) is None]

NAMES = {
    "algorithm": BUILT_IN,
    "dataset": [*DATASETS, *IMAGE_NAMES, "a path"],
    "partition": ["auto", *PARTITIONS, *IMAGE_PARTITIONS],
    "model": ["auto", *MODELS, "module:function"],
    "engine": list(ENGINES),
    "fed-mask.mask": [name for name in family_names() if load_family(name).learnt],
    "fed-pm.mask": ["binary"],
    "fed-pub.mask": ["personal", *family_names()],
    "hide-n-seek.mask": [name for name in family_names() if load_family(name).learnt],
    "hide-n-seek.pruner": pruner_names(),
    "lottery-fl.mask": ["magnitude"],
}
"""Keys that take names; of algorithms those that are built in."""

ESCAPED = str.maketrans({"|": r"\|", "<": r"\<"})


def fields() -> Iterator[tuple[str, FieldInfo]]:
    """Yield every key, those of the algorithms prefixed by their names, in the order of the document."""
    yield from ((kebab(name), field) for name, field in RunConfig.model_fields.items() if name != "settings")
    for algorithm in BUILT_IN:
        for name, field in load_algorithm(algorithm).config.model_fields.items():
            yield f"{algorithm}.{kebab(name)}", field


def row(key: str, field: FieldInfo) -> str:
    words = ", ".join(NAMES[key]) if key in NAMES else str(allowed(field)).replace("'", "")
    cells = (f"`{key}`", f"`{json.dumps(field.default)}`", words, str(field.description))
    return f"| {' | '.join(cell.translate(ESCAPED) for cell in cells)} |"


@pytest.mark.parametrize("key", dict(fields()))
def test_every_key_is_documented_with_its_default_and_what_is_allowed(key: str) -> None:
    assert row(key, dict(fields())[key]) in CONFIGURATION.splitlines()


def test_no_key_is_documented_that_is_none() -> None:
    documented = [line.split("`")[1] for line in CONFIGURATION.splitlines() if line.startswith("| `")]
    variables = [name for name in documented if name.startswith("FEDSIEVE_")]
    assert [name for name in documented if name not in variables] == [key for key, _ in fields()]
    assert variables
