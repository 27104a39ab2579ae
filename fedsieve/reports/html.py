"""A page from a template file, in which whatever comes from a run's files is text, never markup."""

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fedsieve import __version__
from fedsieve.reports.figure import Drawn
from fedsieve.reports.svg import render_svg
from fedsieve.reports.theme import DARK, LIGHT

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

GENERATOR = "FedSieve"
"""What a page's `generator` begins with, by which a page of ours is known."""


def fill_template(name: str, **values: object) -> str:
    """Return the page of the file `name` in `templates/`; `values` are escaped where they stand in it."""
    return _load_templates().get_template(name).render(values)


@cache
def _load_templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_list_folders()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    generator = f"{GENERATOR} {__version__}"
    environment.globals |= {"generator": generator, "light": LIGHT, "dark": DARK, "svg": _mark_up}
    return environment


def _list_folders() -> list[Path]:
    """Return where templates are looked for: beside this file, then in the installed package.

    Flower's bundles take no HTML or CSS along, so that under `flwr run .` this file is beside none.
    """
    return [Path(root, "fedsieve", "reports", "templates") for root in [str(Path(__file__).parents[2]), *sys.path]]


def _mark_up(drawn: Drawn) -> "Markup":
    from markupsafe import Markup

    return Markup(render_svg(drawn))
