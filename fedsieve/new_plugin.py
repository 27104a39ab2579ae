"""`fedsieve new-plugin NAME`: an installable package of one algorithm, to be changed into another.

`template/` is such a package, of the algorithm `my-algorithm`; it is copied with that name replaced.
"""

import ast
import keyword
import re
from collections.abc import Iterator
from pathlib import Path

from fedsieve.algorithms import ENTRY_POINTS, algorithm_names, kebab
from fedsieve.config import RunConfig
from fedsieve.errors import UserError
from fedsieve.plugins import plugin_of
from fedsieve.simulations.experiment import LABEL, OWN

TEMPLATE = Path(__file__).parent / "template"

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 32

SUFFIXES = (".py", ".toml", ".md", ".typed")
"""Suffixes of the template's files; what else lies there, Python has put there."""


def new_plugin(name: str, folder: Path) -> list[Path]:
    """Write a package of the algorithm `name` into `folder` and return its files, their paths relative to the folder.

    The distribution is called fedsieve-NAME and its module fedsieve_NAME, so that an algorithm may have the name of any
    other package.

    Raises:
        UserError: the name is none, or is taken; the folder is not empty or cannot be written.
    """
    check_name(name)
    _check_folder(folder)
    written = []
    try:
        for source in _list_files():
            target = Path(_rename(str(source.relative_to(TEMPLATE)), name))
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            (folder / target).write_text(_rename(source.read_text(encoding="utf-8"), name), encoding="utf-8")
            written.append(target)
    except OSError as error:
        raise UserError(f"new-plugin: {folder} cannot be written: {error.strerror}.") from error
    return written


def check_name(name: str) -> None:
    """Raise a `UserError` for a name that an algorithm cannot have, or that one has."""
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        allowed = f"allowed: up to {LONGEST} lower-case letters, digits and single hyphens, a letter first"
        raise UserError(f"new-plugin: got {name!r}{_suggest(name)}, {allowed}.")
    if name in {*map(kebab, RunConfig.model_fields), *OWN, LABEL}:
        raise UserError(f"new-plugin: got {name!r}, which is a key of runs or experiments; allowed: another name.")
    if keyword.iskeyword(camel(name)) or {camel(name), name} & _list_imported():
        raise UserError(f"new-plugin: got {name!r}, a name that Python or the package's files need; allowed: another.")
    if name in algorithm_names():
        owner = plugin_of(ENTRY_POINTS, name) or "FedSieve itself"
        raise UserError(f"new-plugin: got {name!r}, an algorithm that {owner} has; allowed: another name.")


def camel(name: str) -> str:
    """Return the name of a class for the algorithm `name`."""
    return "".join(map(str.capitalize, name.split("-")))


def _list_imported() -> set[str]:
    """Return the names that the package's files import."""
    nodes = (
        node for path in _list_files() if path.suffix == ".py" for node in ast.walk(ast.parse(path.read_text("utf-8")))
    )
    aliases = (alias for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names)
    return {alias.asname or alias.name.partition(".")[0] for alias in aliases}


def _suggest(name: str) -> str:
    """Return " (did you mean my-algorithm?)" for a name such as MyAlgorithm or my_algorithm."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name)
    near = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
    return f" (did you mean {near}?)" if NAME.fullmatch(near) and len(near) <= LONGEST else ""


def _check_folder(folder: Path) -> None:
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise UserError(f"new-plugin: {folder} cannot be read: {error.strerror}.") from error
    if taken:
        fault = "is not empty" if folder.is_dir() else "is a file"
        raise UserError(f"new-plugin: got the folder {folder}, which {fault}; allowed: a new or an empty one.")


def _list_files() -> Iterator[Path]:
    return (path for path in sorted(TEMPLATE.rglob("*")) if path.suffix in SUFFIXES)


def _rename(text: str, name: str) -> str:
    """Return `text` with the template's name replaced, in each way in which a name is written."""
    words = name.split("-")
    for old, new in {
        "my-algorithm": name,
        "my_algorithm": "_".join(words),
        "MyAlgorithm": camel(name),
    }.items():
        text = text.replace(old, new)
    return text
