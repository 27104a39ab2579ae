"""The flags of the command line: every key of a run is one, made from what `fedsieve.keys` says of it."""

import re
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_args, get_origin

import click
import typer
from typer.core import TyperCommand, TyperOption

from fedsieve.errors import UserError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

Files = Annotated[
    list[str] | None, typer.Argument(metavar="[CONFIG.toml]", help="A TOML file of keys.", show_default=False)
]
Assignments = Annotated[
    list[str] | None, typer.Option("-s", metavar="KEY=VALUE", help="Any key, for example -s fed-pub.tau=5; repeatable.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print summary.json and nothing else.")]

TableFormat = Annotated[
    str,
    typer.Option(
        "--format",
        help="How the table is printed.",
        click_type=click.Choice(["text", "md", "csv", "latex", "json"]),
    ),
]

OWN_KEY = re.compile(r"--([a-z][\w-]*\.[\w-]+)(?:=(.*))?", re.DOTALL)
"""`--fed-pub.tau`, which is short for `-s fed-pub.tau=...`: which of these there are, only the algorithm knows."""

DATA_SUFFIXES = (".npz", ".pt", ".parquet", ".csv")
"""Of files that hold a user's own graph or images, or look as if they did."""

METAVARS = {int: "INTEGER", float: "NUMBER", str: "TEXT"}


class KeyedCommand(TyperCommand):
    """A command whose flags are the run's keys; those that are given are its context's `obj`, by key.

    They are made when the command is asked for, so that the help of others needs no schema.
    """

    only: ClassVar[tuple[str, ...]] = ()
    """The keys that are flags; () for all."""

    group: ClassVar[str] = ""
    """The title of the group whose keys are flags; "" for all."""

    deployed: ClassVar[bool] = False
    """Whether keys that say nothing of a deployment are omitted."""

    @cached_property
    def keyed(self) -> dict[str, TyperOption]:
        """The flags by key."""
        from fedsieve.algorithms import kebab
        from fedsieve.keys import GROUPS, key_of

        return {
            kebab(name): _option(kebab(name), field, group.title)
            for group in GROUPS
            if not self.group or group.title == self.group
            for name, field in group.model_fields.items()
            if (not self.only or kebab(name) in self.only) and (key_of(field).deployed or not self.deployed)
        }

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters and the keys."""
        return [*super().get_params(ctx), *self.keyed.values()]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; a flag that there is not, and a value that has lost its key, get a hint.

        Raises:
            UserError: there is such a one.
        """
        written = list(args)
        try:
            return super().parse_args(ctx, _rewrite_own_keys(args))
        except click.NoSuchOption as error:
            given = next((arg for arg in written if arg.startswith(error.option_name)), error.option_name)
            flag = given.partition("=")[0]
            raise UserError(_explain_unknown_flag(flag, written, [f"--{key}" for key in self.keyed])) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command's function."""
        values = {key: ctx.params.pop(option.name) for key, option in self.keyed.items()}
        ctx.obj = {key: value for key, value in values.items() if value is not None}
        return super().invoke(ctx)


class DeployedCommand(KeyedCommand):
    """The keys of a deployed run."""

    deployed = True


class ResumeCommand(KeyedCommand):
    """The keys that a run may be resumed with, without a change of its configuration."""

    only = ("tensorboard", "trackers")


class PartitionCommand(KeyedCommand):
    """The keys of the data, but for the data set, which is an argument."""

    group = "Data"

    @cached_property
    def keyed(self) -> dict[str, TyperOption]:
        """The flags by key."""
        return {key: option for key, option in super().keyed.items() if key != "dataset"}


class _Text(click.types.StringParamType):
    """A key's value as it is written: a number where the key is one and the text is; the schema says what is wrong."""

    name = "text"

    def __init__(self, wanted: Any) -> None:
        self.wanted = wanted

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value."""
        if self.wanted not in (int, float):
            return value
        try:
            return self.wanted(value)
        except ValueError:
            return value


def _option(key: str, field: "FieldInfo", panel: str) -> TyperOption:
    choices = get_args(field.annotation) if get_origin(field.annotation) is not None else ()
    shown: dict[str, Any] = {
        "help": str(field.description).replace("[", r"\["),
        "rich_help_panel": panel,
        "default": None,
    }
    name = key.replace("-", "_")
    if field.annotation is bool:
        return TyperOption(param_decls=[f"--{key}/--no-{key}", name], is_flag=True, **shown)
    metavar = "|".join(choices) if choices else METAVARS[field.annotation]  # type: ignore[index]
    default = str(field.default) if field.default != "" else False
    return TyperOption(
        param_decls=[f"--{key}", name], type=_Text(field.annotation), metavar=metavar, show_default=default, **shown
    )


def _rewrite_own_keys(args: Sequence[str]) -> list[str]:
    """Return the arguments with `--fed-pub.tau 5` as `-s fed-pub.tau=5`.

    Raises:
        UserError: the value of `-s` stands apart, as in `-s lr 0.1`.
    """
    rewritten, rest = [], list(args)
    while rest:
        arg = rest.pop(0)
        if own_key := OWN_KEY.fullmatch(arg):
            if own_key[2] is None and not rest:
                raise UserError(f"{arg}: got no value, allowed: {arg} VALUE.")
            rewritten += ["-s", f"{own_key[1]}={rest.pop(0) if own_key[2] is None else own_key[2]}"]
            continue
        rewritten.append(arg)
        if arg == "-s" and rest:
            _check_whole(rest)
            rewritten.append(rest.pop(0))
    return rewritten


def _check_whole(rest: Sequence[str]) -> None:
    """Raise a `UserError` where `-s` is followed by a key alone, and its value comes after it."""
    key, equals, value = rest[0].partition("=")
    after = [part for part in rest[1:3] if part != "="]
    if value or not after or after[0].startswith("-") or after[0].endswith(".toml"):
        return
    lacking = "no value" if equals else "no '='"
    raise UserError(f"-s {rest[0]}: got {lacking} (did you mean -s {key}={after[0].removeprefix('=')}?), allowed: "
                    "key=value.")  # fmt: skip


def _explain_unknown_flag(flag: str, args: Sequence[str], flags: Sequence[str]) -> str:
    """Return the sentence on a flag that there is not."""
    from fedsieve.algorithms import find_owners, kebab
    from fedsieve.errors import find_close
    from fedsieve.keys import fields, guess_key

    given = kebab(flag.lstrip("-"))
    if given in fields() and f"--{given}" not in flags and flag == f"--{given}":
        return f"{flag}: is a key that cannot be given here, allowed: {', '.join(flags)}."
    owners = find_owners(given)
    likely = (
        (f"--{guess_key(given)}" if guess_key(given) else "")
        or _find_own_flag(given, args)
        or " or ".join(f"--{name}.{given}" for name in owners)
        or find_close(f"--{given}", flags)
    )
    hint = f" (did you mean {likely}?)" if likely in flags or "." in likely else ""
    return f"{flag}: is not a flag{hint}, allowed: every key, as in --lr 0.1; see --help."


def _find_own_flag(given: str, args: Sequence[str]) -> str:
    """Return `--fed-pub.tau` for `tau` where that is a key of the algorithm that `args` choose, "" where it is none."""
    from fedsieve.algorithms import list_own_keys, section_of
    from fedsieve.keys import fields

    after = dict(pairwise(args))
    after |= dict(arg.split("=", 1) for arg in args if arg.startswith("--") and "=" in arg)
    name = after.get("--algorithm", fields()["algorithm"].default)
    return f"--{section_of(name)}.{given}" if given in list_own_keys(name) else ""


def file_of(command: str, given: Sequence[str]) -> Path | None:
    """Return the file of keys that is given, None for none.

    Raises:
        UserError: it is something else, such as a data set's name.
    """
    if not given:
        return None
    hints = [hint for hint in map(_find_flag_for, given) if hint]
    if hints:
        raise UserError(f"{command} {' '.join(given)}: is no file of keys (did you mean {' '.join(hints)}?), allowed: "
                        "a TOML file.")  # fmt: skip
    if len(given) > 1:
        raise UserError(f"{command}: got {' and '.join(given)}, allowed: one TOML file of keys.")
    return Path(given[0])


def _find_flag_for(text: str) -> str:
    """Return the flag or command that is meant by something that is no file of keys, "" where none is known."""
    from fedsieve.algorithms import all_algorithm_names
    from fedsieve.catalogue import GRAPH_PARTITIONS, GRAPHS, IMAGE_PARTITIONS, IMAGES, OWN_PARTITIONS
    from fedsieve.errors import find_close
    from fedsieve.keys import guess_key
    from fedsieve.paths import expand

    path = expand(text)
    if (path / "config.toml").is_file():
        return f"{path}/config.toml"
    if path.suffix == ".toml" or (path.is_file() and path.suffix.lower() not in DATA_SUFFIXES):
        return ""
    names = dict.fromkeys([*GRAPH_PARTITIONS, *IMAGE_PARTITIONS, *OWN_PARTITIONS], "--partition")
    names |= dict.fromkeys(all_algorithm_names(), "--algorithm") | dict.fromkeys([*GRAPHS, *IMAGES], "--dataset")
    if text in names or "=" in text:
        return f"{names.get(text, '-s')} {text}"
    if path.exists() or path.suffix.lower() in DATA_SUFFIXES:
        return f"--dataset {text}"
    if guess_key(text):
        return f"--{guess_key(text)} VALUE"
    near = find_close(text, names)
    return f"{names[near]} {near}" if near else ""
