"""An experiment's runs: every combination of what it sweeps, with the name of each one's folder."""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from fedsieve.algorithms import section_of, section_of_key
from fedsieve.config import RunConfig, Scalar, check_read, dotted, explain_unread, find_unread, parse
from fedsieve.errors import UserError, suggest
from fedsieve.keys import fields, key_of
from fedsieve.simulations.experiment import LABEL, Column, Compared, Experiment, Layout, check_keys, name_file

LONGEST = 120
"""Characters of a folder's name, above which its end is a hash."""


@dataclass(frozen=True)
class Point:
    """One run of an experiment.

    Attributes:
        name: of its folder: the label and each key that is swept, so that a longer sweep has the same names.
        label: of the entry of `[[runs]]` that it belongs to; the algorithm where there are none.
        run: its configuration, whose `out` is left open.
        swept: the keys that are, of those that it has.
        setting: the values of the keys that the whole experiment sweeps, and the seed; what a reference run shares.
    """

    name: str
    label: str
    run: RunConfig
    swept: tuple[str, ...]
    setting: Mapping[str, Scalar | None]

    def value(self, key: str) -> Scalar | None:
        """Return the value of a key or the label, None for a key that the run has not."""
        return self.label if key == LABEL else self.run.flat().get(key)


@dataclass(frozen=True)
class _Axis:
    """What is swept together: each choice gives keys values; `name` is the key, where there is one."""

    name: str
    choices: Sequence[Mapping[str, Any]]

    @property
    def keys(self) -> list[str]:
        return list(dict.fromkeys(key for choice in self.choices for key in choice))


def expand_experiment(experiment: Experiment, path: Path) -> list[Point]:
    """Return the runs of the experiment in the file `path`, in order.

    Raises:
        UserError: one of them is not valid, two are the same, or the table names what none of them has.
    """
    with name_file(path):
        common = _axes(experiment.sweep, "sweep")
        compared = experiment.runs or [Compared(label="", keys={}, sweep={})]
        labels = [one.label for one in compared]
        if twice := [label for label in labels if labels.count(label) > 1]:
            raise UserError(f"runs: got two of the label {twice[0]!r}, allowed: a label of its own for each.")
        asked = [asked for one in compared for asked in _list_asked(experiment, one, common)]
        running = {section_of(asked.algorithm) for asked in asked}
        points = [_make_point(asked, running, common) for asked in asked]
        _check_shared_are_read(experiment.base, points)
        _check_different(points)
        if experiment.table is not None:
            _check_layout(experiment.table, points)
        return points


@dataclass(frozen=True)
class _Asked:
    """One run before its keys are validated: `shared` keys, which others may have, and its `own_keys`."""

    one: Compared
    axes: Sequence[_Axis]
    shared: Mapping[str, Any]
    own_keys: Mapping[str, Any]

    @property
    def algorithm(self) -> str:
        return str((dict(self.shared) | dict(self.own_keys)).get("algorithm", fields()["algorithm"].default))


def _list_asked(experiment: Experiment, one: Compared, common: list[_Axis]) -> Iterable[_Asked]:
    own_axes = _axes(one.sweep, f"runs {one.label!r}: sweep")
    taken = set(one.keys).union(*(axis.keys for axis in own_axes))
    axes = [axis for axis in common if taken.isdisjoint(axis.keys)] + own_axes
    swept = [key for axis in axes for key in axis.keys]
    for key in swept:
        if swept.count(key) > 1:
            raise UserError(f"sweep: sets {key} twice, allowed: each key in one list.")
    for choices, seed in product(product(*(axis.choices for axis in axes)), experiment.seeds):
        shared: dict[str, Any] = dict(experiment.base)
        mine: dict[str, Any] = {}
        for axis, choice in zip(axes, choices, strict=True):
            (mine if axis in own_axes or axis.name else shared).update(choice)
        yield _Asked(one, axes, shared, mine | one.keys | {"seed": seed})


def _make_point(asked: _Asked, running: Collection[str], common: list[_Axis]) -> Point:
    """Return a run; shared keys that it does not read are ignored.

    They are those of another algorithm, if another run of the experiment is of that, and of other partitions.
    """
    one, chosen = asked.one, section_of(asked.algorithm)
    shared = {key: value for key, value in asked.shared.items()
              if section_of_key(key) in ("", chosen) or section_of_key(key) not in running}  # fmt: skip
    where = f"runs {one.label!r}: " if one.label else ""
    try:
        run = parse(shared | dict(asked.own_keys))
        unread = set(find_unread(run)) - set(asked.own_keys)
        run = run.model_copy(update={key.replace("-", "_"): fields()[key].default for key in unread})
        check_read(run)
    except UserError as error:
        for axis in asked.axes:
            if axis.name and section_of_key(axis.name) not in ("", chosen):
                raise UserError(f"sweep.{axis.name}: is not a key of {asked.algorithm}, allowed: a sweep of its own in "
                                "those of [[runs]] that have it.") from None  # fmt: skip
        raise UserError(f"{where}{error}") from None
    if run.engine == "flower":
        raise UserError("engine: got 'flower', allowed in an experiment: inline or ray, whose runs can be resumed.")
    flat = run.flat()
    has = [key for axis in asked.axes for key in axis.keys if key in flat]
    together = [*(key for axis in common for key in axis.keys), "seed"]
    words = [f"{key}={flat[key]}" for key in has]
    return Point(
        name=_make_name([*([one.label] if one.label else []), *words, f"seed={run.seed}"]),
        label=one.label or run.algorithm,
        run=run,
        swept=tuple(has),
        setting={key: flat.get(key) for key in together if "." not in key},
    )


def _check_shared_are_read(base: Mapping[str, Any], points: Sequence[Point]) -> None:
    """Raise a `UserError` for a key of the whole experiment that the partition of none of its runs reads."""
    partitions = ", ".join(dict.fromkeys(point.run.partition for point in points))
    for key in dict.fromkeys(key for point in points for key in base if key in fields()):
        field = fields()[key]
        if base[key] != field.default and not any(key_of(field).is_read_by(point.run.partition) for point in points):
            raise explain_unread(key, base[key], f"the partitions {partitions}, which do not read it")


def _axes(sweep: Mapping[str, Any], where: str) -> list[_Axis]:
    axes = []
    for key, values in dotted(sweep).items():
        if not isinstance(values, list) or not values:
            raise UserError(f"{where}.{key}: got {values!r}, allowed: a list of at least one value.")
        if all(isinstance(value, dict) for value in values):
            if key in fields() or "." in key:
                raise UserError(f"{where}.{key}: got tables, allowed: values of {key}, or another name for the list.")
            axes.append(_Axis("", [dotted(value) for value in values]))
        elif any(isinstance(value, dict | list) for value in values):
            raise UserError(f"{where}.{key}: got {values!r}, allowed: values, or tables of keys, but not both.")
        else:
            axes.append(_Axis(key, [{key: value} for value in values]))
        for choice in axes[-1].choices:
            check_keys(choice, f"{where}." if axes[-1].name else f"{where}.{key}: ")
    return axes


def _make_name(parts: Sequence[str]) -> str:
    """Return a folder's name: letters, digits and `. = , + - _`, as other characters are, shortened if it is long."""
    name = ",".join(re.sub(r"[^\w.=+-]+", "-", part).strip("-") for part in parts)
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _check_different(points: Sequence[Point]) -> None:
    runs: dict[tuple[Any, ...], Point] = {}
    names: dict[str, Point] = {}
    for point in points:
        same = runs.setdefault(tuple(sorted(point.run.flat().items())), point)
        if same is not point:
            raise UserError(f"sweep: {same.name} and {point.name} are the same run, allowed: each run once.")
        other = names.setdefault(point.name, point)
        if other is not point:
            raise UserError(f"sweep: two runs would be in the folder {point.name}, allowed: labels and values that "
                            "differ in letters, digits or . = + - _.")  # fmt: skip


def _check_layout(layout: Layout, points: Sequence[Point]) -> None:
    """Raise a `UserError` for keys and labels that no run has: the table would silently be without them."""
    known = {LABEL, *(key for point in points for key in point.run.flat())}
    used = [("rows", key) for key in layout.rows] + [("split", key) for key in layout.split]
    used += [(f"columns[{index}].where", key) for index, column in enumerate(layout.columns) for key in column.where]
    for where, key in used:
        if key not in known:
            raise UserError(f"table.{where}: got {key!r}{suggest(key, known)}, allowed: label, or a key of the runs.")
    if layout.choose and (layout.choose not in layout.rows or len(layout.rows) < 2):
        raise UserError(f"table.choose: got {layout.choose!r}, allowed: one of two or more rows.")
    labels = list(dict.fromkeys(point.label for point in points))
    named = [("target.label", layout.target.label)] if layout.target else []
    for index, column in enumerate(layout.columns):
        where = f"columns[{index}]"
        named += [(f"{where}.over", column.over), (f"{where}.under", column.under)]
        if not any(matches(point, column.where) for point in points):
            raise UserError(f"table.{where}.where: got {dict(column.where)!r}, allowed: what some run has.")
        if column.metric == "megabytes_until_target" and layout.target is None:
            raise UserError(f"table.{where}.metric: got {column.metric!r}, allowed: with table.target.")
    for where, label in named:
        if label and label not in labels:
            raise UserError(f"table.{where}: got {label!r}{suggest(label, labels)}, allowed: {', '.join(labels)}.")
        settings = [tuple(point.setting.items()) for point in points if point.label == label]
        if len(settings) > len(set(settings)):
            raise UserError(f"table.{where}: got {label!r}, allowed: a label without a sweep of its own.")


def layout_of(experiment: Experiment, points: Sequence[Point]) -> Layout:
    """Return the experiment's table; without one, a row for each label and each combination of the keys swept."""
    swept = dict.fromkeys(key for point in points for key in point.swept)
    columns = [Column(metric=metric) for metric in ("val_accuracy", "test_accuracy")]
    return experiment.table or Layout(rows=[LABEL, *swept], columns=columns)


def matches(point: Point, where: Mapping[str, Scalar]) -> bool:
    """Return whether a run has all these values."""
    return all(point.value(key) == value for key, value in where.items())
