"""A page from a template, in which whatever comes from files is text, never markup."""

from functools import cache
from typing import TYPE_CHECKING

from fedsieve import __version__
from fedsieve.reports.figure import Drawn
from fedsieve.reports.style import STYLE
from fedsieve.reports.svg import svg

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

GENERATOR = "FedSieve"
"""What a page's `generator` begins with, by which a page of ours is known."""


def filled(template: str, **values: object) -> str:
    """Return the page; `values` are escaped where they stand in it."""
    from markupsafe import Markup

    return _compiled(template).render(generator=f"{GENERATOR} {__version__}", style=Markup(STYLE), **values)


@cache
def _compiled(template: str) -> "Template":
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals["svg"] = _marked
    return environment.from_string(template)


def _marked(drawn: Drawn) -> "Markup":
    from markupsafe import Markup

    return Markup(svg(drawn))
