"""Experiment files: all runs of a table, as TOML.

An experiment is the file of a run and, beside its keys, `seeds`, `[sweep]` (lists, of which every combination is run),
`[[runs]]` (what is compared, each with a label) and `[table]`. docs/experiments.md tells them one by one.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fedsieve.algorithms import algorithm_names, kebab
from fedsieve.config import Scalar, dotted, read, validate
from fedsieve.errors import UserError, suggest
from fedsieve.keys import fields
from fedsieve.reports.quantities import FIGURES

BUILT_IN = Path(__file__).parent / "experiments"

LABEL = "label"

_STRICT = ConfigDict(frozen=True, strict=True, extra="forbid", alias_generator=kebab, populate_by_name=True)


class Column(BaseModel):
    """A column of the table: a figure over seeds.

    Attributes:
        where: keys, or the label, that the column's runs have.
        over: show the ratio of the figure to that of the run of this label; `under`: that run's to this one's.
    """

    model_config = _STRICT

    metric: str
    heading: str = ""
    where: dict[str, Scalar] = {}
    over: str = ""
    under: str = ""


class Target(BaseModel):
    """The accuracy of `megabytes_until_target`: a share of the best mean validation accuracy of the runs `label`."""

    model_config = _STRICT

    label: str
    share: float = Field(gt=0.0, le=1.0)


class Layout(BaseModel):
    """What the table shows: a row for each combination of the keys `rows`.

    Attributes:
        split: keys each of whose combinations has a table of its own.
        choose: the key of `rows` whose value is chosen for each combination of the others, by the best mean validation
            accuracy.
    """

    model_config = _STRICT

    rows: list[str] = Field(min_length=1)
    columns: list[Column] = Field(min_length=1)
    split: list[str] = []
    choose: str = ""
    target: Target | None = None


class Compared(BaseModel):
    """One of `[[runs]]`: keys of its own, which override all others, and lists of its own to sweep."""

    model_config = ConfigDict(frozen=True)

    label: str
    keys: dict[str, Any]
    sweep: dict[str, Any]


class Experiment(BaseModel):
    """What an experiment file says; see `fedsieve.simulations.combinations` for the runs it stands for.

    Attributes:
        cpu_hours: what it has cost.
        base: the keys that all runs have.
        seeds: each combination is run with each of them.
        sweep: lists of a key's values, or under any name, of tables of keys that change together.
        runs: what is compared; none for one run of the base keys.
    """

    model_config = _STRICT

    title: str = ""
    cpu_hours: float | None = Field(None, gt=0.0)
    base: dict[str, Any] = {}
    seeds: list[int] = Field([42], min_length=1)
    sweep: dict[str, Any] = {}
    runs: list[Compared] = []
    table: Layout | None = None


OWN = [kebab(name) for name in Experiment.model_fields if name != "base"]
"""The keys of an experiment file that no run has."""


def find(given: str) -> Path:
    """Return the experiment file of this path or, if there is none, the built-in one of this name.

    Raises:
        UserError: there is neither.
    """
    names = list_built_in()
    if Path(given).is_file():
        return Path(given)
    if given in names:
        return names[given]
    raise UserError(f"sweep: got {given!r}{suggest(given, names)}, allowed: a file, or one of {', '.join(names)}.")


def list_built_in() -> dict[str, Path]:
    """Return the built-in experiment files by name."""
    return {path.stem: path for path in sorted(BUILT_IN.glob("*.toml"), key=lambda path: path.stem)}


def summarise_built_in() -> dict[str, str]:
    """Return a line on each built-in experiment: its title, and what it has cost where that is known."""
    by_name = {}
    for name, path in list_built_in().items():
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        cost = f"; {values['cpu-hours']:g} CPU hours" if "cpu-hours" in values else ""
        by_name[name] = values["title"] + cost
    return by_name


def read_experiment(path: Path) -> Experiment:
    """Read an experiment file.

    Raises:
        UserError: it cannot be read, or what it says is none; the sentence names the file and the key.
    """
    values = read(path)
    with name_file(path):
        return make_experiment(values)


def make_experiment(values: Mapping[str, Any]) -> Experiment:
    """Return the experiment that these values of a file are.

    Raises:
        UserError: they are none; the sentence names the key.
    """
    own_keys = {key: values[key] for key in OWN if key in values}
    base = {key: value for key, value in values.items() if key not in own_keys}
    check_keys(base, "", OWN)
    own_keys["runs"] = [
        _read_compared(given, index, base) for index, given in enumerate(_read_tables(own_keys, "runs"))
    ]
    if "table" in own_keys:
        own_keys["table"] = _read_layout(own_keys["table"])
    experiment: Experiment = validate(Experiment, own_keys | {"base": dotted(base)}, "")
    return experiment


@contextmanager
def name_file(path: Path) -> Iterator[None]:
    """Name the file in front of what is wrong with it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _read_compared(given: Mapping[str, Any], index: int, base: Mapping[str, Any]) -> Compared:
    named = given.get(LABEL, given.get("algorithm", base.get("algorithm", "")))
    if not isinstance(named, str) or not named:
        raise UserError(f"runs[{index}].label: got {named!r}, allowed: a string, or an algorithm to be called by.")
    keys = {key: value for key, value in given.items() if key not in {LABEL, "sweep"}}
    check_keys(keys, f"runs[{index}].", (LABEL, "sweep"))
    if not isinstance(sweep := given.get("sweep", {}), dict):
        raise UserError(f"runs[{index}].sweep: got {sweep!r}, allowed: lists by key, as in sweep.lr = [0.01, 0.1].")
    return Compared(label=named, keys=dotted(keys), sweep=sweep)


def _read_layout(given: Any) -> Layout:
    if not isinstance(given, dict):
        raise UserError(f"table: got {given!r}, allowed: a table of keys.")
    columns = []
    for index, column in enumerate(_read_tables(given, "columns", "table.")):
        prefix = f"table.columns[{index}]."
        if isinstance(where := column.get("where"), dict):
            column |= {"where": dotted(where)}
        columns.append(validate(Column, column, prefix))
        if columns[-1].over and columns[-1].under:
            raise UserError(f"{prefix}over: got {columns[-1].over!r} beside under, allowed: one of the two.")
        metric = columns[-1].metric
        if metric not in FIGURES:
            raise UserError(f"{prefix}metric: got {metric!r}{suggest(metric, FIGURES)}, allowed: {', '.join(FIGURES)}.")
    values = given | ({"columns": columns} if columns else {})
    if isinstance(given.get("target"), dict):
        values["target"] = validate(Target, given["target"], "table.target.")
    layout: Layout = validate(Layout, values, "table.")
    return layout


def _read_tables(values: Mapping[str, Any], key: str, prefix: str = "") -> list[dict[str, Any]]:
    """Return a list of tables, of which a string in `columns` is the metric alone."""
    given = values.get(key, [])
    if not isinstance(given, list):
        raise UserError(f"{prefix}{key}: got {given!r}, allowed: a list of tables.")
    tables = [{"metric": item} if key == "columns" and isinstance(item, str) else item for item in given]
    for index, item in enumerate(tables):
        if not isinstance(item, dict):
            raise UserError(f"{prefix}{key}[{index}]: got {item!r}, allowed: a table of keys.")
    return tables


def check_keys(values: Mapping[str, Any], prefix: str, own_keys: Sequence[str] = ()) -> None:
    """Raise a `UserError` for keys that are neither a run's nor of `own`, that the experiment gives, and for lists."""
    known = [*own_keys, *(key for key in fields() if key not in {"seed", "out"}), *algorithm_names()]
    for key, value in dotted(values).items():
        if key == "seed":
            raise UserError(f"{prefix}seed: is not a key here, allowed: seeds = [42, 43, 44], say, for all runs.")
        if key == "out":
            raise UserError(f"{prefix}out: is not a key here: each run has a folder of its own; see --out.")
        if key.partition(".")[0] not in known:
            hint = suggest(key, known)
            allowed = ", ".join([*own_keys, "the keys of a run (docs/configuration.md)"])
            raise UserError(f"{prefix}{key}: is not a key{hint}, allowed: {allowed}.")
        if isinstance(value, list):
            raise UserError(f"{prefix}{key}: got a list, allowed: one value, or the list as sweep.{key}.")
