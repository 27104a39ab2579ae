"""What a caller gives from Python, names or objects, as the keys of a run."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from fedsieve.algorithms import algorithm_names, as_algorithm, load_algorithm, section_of
from fedsieve.api.given_data import name_dataset
from fedsieve.config import RunConfig, dotted
from fedsieve.errors import UserError
from fedsieve.keys import fields
from fedsieve.objects import is_of_session, name_of, name_of_global
from fedsieve.user_data import is_function


def gather(
    algorithm: Any, dataset: Any, model: Any, settings: Mapping[str, Any] | None, keys: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the keys of a run, flat, as `fedsieve.config.parse` takes them.

    Raises:
        UserError: an object is of no use as what it is given for, or a key is given twice.
    """
    named: list[tuple[str, Any]] = []
    if algorithm is not None:
        named.append(("algorithm", name_algorithm(algorithm)))
    if model is not None:
        named.append(("model", name_model(model)))
    if dataset is not None:
        named += name_dataset(dataset)
    section = section_of(dict(named).get("algorithm", fields()["algorithm"].default))
    named += [(f"{section}.{_kebab(key)}", value) for key, value in (settings or {}).items()]
    named += [(_kebab(key), value) for key, value in dotted(keys).items()]
    values: dict[str, Any] = {}
    for key, value in named:
        if key in values:
            raise UserError(f"{key}: is given twice, {values[key]!r} and {value!r}, allowed: once.")
        if value is not None:  # left open
            values[key] = make_plain(value)
    if "partition" not in values and isinstance(dataset, list | tuple):
        values["partition"] = "given"
    return values


def name_model(given: Any) -> str:
    """Return the name of a network: itself, or that of a class or function that makes it.

    Raises:
        UserError: it is something else.
    """
    if isinstance(given, str):
        return given
    if isinstance(given, nn.Module) or not callable(given):
        what = f"a {type(given).__name__}" if isinstance(given, nn.Module) else repr(given)
        raise UserError(
            f"model: got {what}, allowed: a name, or the class or function that makes the network, uncalled."
        )
    return name_of(given)


def name_algorithm(given: Any) -> str:
    """Return the name of an algorithm: itself, or that of an `Algorithm` or of a strategy's class.

    Raises:
        UserError: it is something else.
    """
    if isinstance(given, str):
        return given
    if registered := _find_registered(given):
        return registered
    try:
        made = as_algorithm(given)
    except UserError as error:
        raise UserError(f"algorithm: {given!r} {error}.") from None
    return name_of_global(given) if given is made else name_of(given)


def check_crosses(run: RunConfig, *, alone: bool = True) -> None:
    """Raise a `UserError` where other processes are to run what only this one has; `alone`: inline is this process."""
    for key, value in (("algorithm", run.algorithm), ("model", run.model)):
        if is_of_session(value) and not (alone and run.engine == "inline"):
            name = value.partition(":")[2].partition("#")[0]
            where = f", with engine = {run.engine!r}, allowed: with engine = 'inline', or" if alone else ", allowed:"
            raise UserError(
                f"{key}: got {name}, which other processes cannot import{where} one at the top of a module, as "
                "my_module.Name."
            )


def let_workers_find(run: RunConfig) -> None:
    """Let processes that are started find the modules of a caller's own objects, wherever these lie."""
    folders = []
    for path in (run.algorithm, run.model, run.dataset if is_function(run.dataset) else ""):
        module = sys.modules.get(path.partition(":")[0])
        file = None if module is None or ":" not in path else getattr(module, "__file__", None)
        if module is not None and file is not None and "site-packages" not in file:
            above = module.__name__.count(".") + (Path(file).name == "__init__.py")
            folders.append(str(Path(file).absolute().parents[above]))
    if folders and run.engine != "inline":
        paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*paths, *folders]))


def make_plain(value: Any) -> Any:
    """Return a value as a key may have it: a path as a string, a number of NumPy's as Python's."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return ",".join(value)  # trackers
    return value.item() if isinstance(value, np.generic) else value


def _find_registered(given: Any) -> str:
    """Return the name under which an algorithm or its server half is installed, "" where it is not."""
    is_class = isinstance(given, type)
    if is_class and given.__module__.startswith("flwr."):
        return f"flwr:{given.__name__}"
    where = f"{given.__module__}:{given.__qualname__}" if is_class else given
    for name in algorithm_names():
        with suppress(UserError):  # a family, or one that is broken
            one = load_algorithm(name)
            if given is one or one.strategy in (given, where):
                return name
    return ""


def _kebab(key: str) -> str:
    """Return a key as it is written elsewhere: `num-clients`, `fed-pub.tau`."""
    section, dot, name = key.rpartition(".")
    plain = section.replace("_", "-")
    return f"{plain if plain in algorithm_names() else section}{dot}{name.replace('_', '-')}"
