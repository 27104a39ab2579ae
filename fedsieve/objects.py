"""A user's own classes and functions as keys name them: `my_nets:Net`, found by import in every process.

One that cannot be imported, such as a lambda, a class of a script or of a notebook's cell, is called `<python>:Net`,
which only the process that has named it understands.
"""

import importlib
import importlib.util
import sys
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

SESSION = "<python>"
"""Stands for a module where there is none."""

_NAMED: dict[str, object] = {}
"""What this process has named without a module."""


def name_of(given: Any) -> str:
    """Return `module:name` of a class or function, or `<python>:name`, which holds in this process alone."""
    module, name = getattr(given, "__module__", None), getattr(given, "__qualname__", None)
    if isinstance(module, str) and isinstance(name, str) and _can_import(module, name, given):
        return f"{module}:{name}"
    return _name_here(given, name)


def name_of_global(given: object) -> str:
    """Return `module:name` of an object that some module has as a global, or `<python>:name` where none has."""
    for module, loaded in list(sys.modules.items()):
        for name, value in list(vars(loaded).items()) if isinstance(loaded, ModuleType) else ():
            if value is given and _can_import(module, name, given):
                return f"{module}:{name}"
    return _name_here(given, None)


def is_of_session(name: str) -> bool:
    """Return whether a name holds in one process alone."""
    return name.startswith(f"{SESSION}:")


def find(name: str) -> Any:
    """Return what `module:name` names; modules in the present folder are found as well as installed ones.

    Raises:
        LookupError: another process has given the name.
        Exception: whatever the import of the module raises.
    """
    if is_of_session(name):
        if name not in _NAMED:
            raise LookupError("it was an object of the Python session that began the run, which alone can resume it")
        return _NAMED[name]
    module, _, path = name.partition(":")
    _find_beside_user()
    return reduce(getattr, path.split("."), importlib.import_module(module))


def is_module(name: str) -> bool:
    """Return whether there is a module of this name, installed or in the present folder; its package is imported."""
    _find_beside_user()
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return name in sys.modules


def _find_beside_user() -> None:
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # at the end, where it hides no package


def _can_import(module: str, name: str, given: object) -> bool:
    """Return whether another process finds the object under this name."""
    if module == "__main__" or "<" in name:  # a local class is f.<locals>.Net
        return False
    try:
        return (
            importlib.util.find_spec(module) is not None
            and reduce(getattr, name.split("."), sys.modules[module]) is given
        )
    except (AttributeError, ImportError, KeyError, ValueError):  # a module made by hand has no spec
        return False


def _name_here(given: object, name: str | None) -> str:
    plain = (name or type(given).__name__).rpartition(".")[2].strip("<>")
    first = f"{SESSION}:{plain}"
    number = 1
    while _NAMED.setdefault(called := first if number == 1 else f"{first}#{number}", given) is not given:
        number += 1
    return called
