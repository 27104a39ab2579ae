"""Writes down elsewhere what fedsieve/keys.py and the algorithms say of each key: `python docs/write_keys.py`.

That is the tables of docs/configuration.md and, in pyproject.toml, the keys declared to Flower. A test compares.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path

import tomli_w
from pydantic.fields import FieldInfo

from fedsieve.algorithms import ENTRY_POINTS, algorithm_names, is_family, kebab, load_algorithm
from fedsieve.allowed import allowed
from fedsieve.catalogue import GRAPH_PARTITIONS, GRAPHS, IMAGE_PARTITIONS, IMAGES, OWN_PARTITIONS
from fedsieve.config import declared_keys
from fedsieve.keys import GROUPS, Changes, key_of
from fedsieve.masks.family import family_names, load_family
from fedsieve.masks.pruning import pruner_names
from fedsieve.models import MODELS
from fedsieve.plugins import plugin_of

ROOT = Path(__file__).parents[1]

BUILT_IN = [name for name in algorithm_names() if plugin_of(ENTRY_POINTS, name) is None]

NAMES = {
    "algorithm": BUILT_IN,
    "dataset": [*GRAPHS, *IMAGES, "a path"],
    "partition": ["auto", *GRAPH_PARTITIONS, *IMAGE_PARTITIONS, *OWN_PARTITIONS],
    "model": ["auto", *MODELS, "module:function"],
    "fed-mask.mask": [name for name in family_names() if load_family(name).learnt],
    "fed-pub.mask": ["personal", *family_names()],
    "hide-n-seek.mask": [name for name in family_names() if load_family(name).learnt],
    "hide-n-seek.pruner": pruner_names(),
}
"""Keys that take names; of algorithms those that are built in."""

ESCAPED = str.maketrans({"|": r"\|", "<": r"\<"})

WORDS = {Changes.DATA: "data", Changes.NUMBERS: "numbers", Changes.LATER: "later rounds", Changes.NOTHING: "nothing"}


def row(key: str, field: FieldInfo) -> str:
    """Return a key's line; that of a run's key says what it changes."""
    words = ", ".join(NAMES[key]) if key in NAMES else str(allowed(field)).replace("'", "")
    cells = [f"`{key}`", f"`{json.dumps(field.default)}`", words, str(field.description)]
    if "." not in key:
        cells.insert(3, WORDS[key_of(field).changes])
    return f"| {' | '.join(cell.translate(ESCAPED) for cell in cells)} |"


def table(rows: Iterable[str], *heads: str) -> str:
    """Return a table of Markdown."""
    return "\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *rows])


def run_keys() -> str:
    """Return a table for each group of the run's keys."""
    heads = ("key", "default", "allowed", "changes", "what it is")
    return "\n\n".join(
        f"### {group.title}\n\n"
        + table((row(kebab(name), field) for name, field in group.model_fields.items()), *heads)
        for group in GROUPS
    )


def own_keys() -> str:
    """Return the table of the built-in algorithms' own keys."""
    found = {
        f"{name}.{kebab(field)}": info
        for name in BUILT_IN
        if not is_family(name)
        for field, info in load_algorithm(name).config.model_fields.items()
    }
    return table((row(key, field) for key, field in found.items()), "key", "default", "allowed", "what it is")


def written_configuration(text: str) -> str:
    """Return docs/configuration.md with its tables as they should be."""
    for mark, made in (("keys of a run", run_keys()), ("keys of algorithms", own_keys())):
        start, end = f"<!-- {mark}: docs/write_keys.py -->\n", f"\n<!-- end of {mark} -->"
        before, rest = text.split(start)
        text = before + start + made + end + rest.split(end)[1]
    return text


def written_pyproject(text: str) -> str:
    """Return pyproject.toml with the keys that are declared to Flower as they should be."""
    nested: dict[str, object] = {}
    for key, value in declared_keys().items():
        section, dot, rest = key.partition(".")
        if dot:
            nested.setdefault(section, {})[rest] = value  # type: ignore[index]
        else:
            nested[key] = value
    made = tomli_w.dumps({"tool": {"flwr": {"app": {"config": nested}}}})
    return re.sub(r"\[tool\.flwr\.app\.config\]\n.*?(?=\n\[tool\.ruff\])", lambda _: made, text, flags=re.DOTALL)


WRITTEN = {ROOT / "docs" / "configuration.md": written_configuration, ROOT / "pyproject.toml": written_pyproject}

if __name__ == "__main__":
    for path, written in WRITTEN.items():
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
