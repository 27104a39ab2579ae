"""How `make docs` makes the site: Sphinx, Markdown by MyST, furo; nothing is fetched when it is built or looked at."""

import importlib
import inspect
import logging
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

import fedsieve

project = "FedSieve"
version = release = fedsieve.__version__
copyright = "the authors of FedSieve, Apache-2.0"

extensions = [
    "myst_parser",
    "sphinx_copybutton",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True
napoleon_use_ivar = True

html_theme = "furo"
html_title = "FedSieve"
html_math_renderer = "mathml"
copybutton_exclude = ".linenos, .gp, .go"

HERE = Path(__file__).parent
REFERENCE = HERE / "reference"

REPOSITORY = "https://github.com/fedsieve/fedsieve/tree/main/"

ROOMS = {
    "fedsieve": "The package",
    "fedsieve.strategies": "What servers do",
    "fedsieve.client": "What clients do",
    "fedsieve.protocols": "What the two share",
    "fedsieve.masks": "Masks",
    "fedsieve.models": "Networks",
    "fedsieve.data": "Data",
    "fedsieve.server": "The server's app",
    "fedsieve.client.app": "The clients' app",
    "fedsieve.runs": "What a run leaves",
    "fedsieve.simulations": "Engines",
    "fedsieve.deploy": "Deployments",
    "fedsieve.reports": "Reports",
}
"""The titles of packages; one that is not here has its name for a title."""


def setup(app: Sphinx) -> None:
    """Have the reference written again before anything is read, docstrings read as Markdown, equations as MathML."""
    app.connect("builder-inited", write_reference)
    app.connect("source-read", to_repository)
    app.connect("autodoc-process-docstring", as_rst, priority=400)  # before napoleon, at 500
    app.add_html_math_renderer("mathml", (visit_inline, depart), (visit_block, depart))


def write_reference(_: Sphinx) -> None:
    """Write a page on the command line, from its help, and one on each package, of its modules' docstrings."""
    REFERENCE.mkdir(exist_ok=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # Flower's server, when it is imported
    command = [sys.executable, "-m", "typer", "fedsieve.cli", "utils", "docs", "--name", "fedsieve"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    write("cli.md", re.sub(r"^# .*", "# Command line", told, count=1))
    modules = [found.name for found in pkgutil.walk_packages(fedsieve.__path__, "fedsieve.")]
    packages: dict[str, list[str]] = {"fedsieve": ["fedsieve"]}
    for name in (name for name in modules if not name.endswith("__main__")):
        is_package = hasattr(importlib.import_module(name), "__path__")
        packages.setdefault(name if is_package else name.rpartition(".")[0], []).append(name)
    pages = [package for package in ROOMS if package in packages] + sorted(packages.keys() - ROOMS.keys())
    for package in pages:
        write(f"{package}.rst", package_page(package, packages[package]))
    entries = "\n".join(pages)
    write("index.md", f"# Python API\n\nFrom the docstrings, with their sources.\n\n```{{toctree}}\n{entries}\n```\n")


def package_page(package: str, modules: list[str]) -> str:
    """Return the page of one package."""
    title = f"{ROOMS[package]}: {package}" if package in ROOMS else package
    parts = [title, "=" * len(title), ""]
    for module in modules:
        heading = [] if module == package else [module, "-" * len(module), ""]
        parts += [*heading, f".. automodule:: {module}"]
        parts += (
            ["   :exclude-members: RunFailedError, UserError", ""] if module == "fedsieve" else [""]
        )  # of errors.py
    return "\n".join(parts)


def write(name: str, text: str) -> None:
    """Write a page of the reference, unless it is there just so: Sphinx reads again what is newer."""
    path = REFERENCE / name
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def to_repository(_: Sphinx, page: str, content: list[str]) -> None:
    """Let links to what is no page, a folder or a file beside docs/, lead to the repository."""
    if "/" not in page:
        content[0] = content[0].replace("](../", f"]({REPOSITORY}")


def as_rst(_: Sphinx, what: str, __: str, given: Any, ___: Any, lines: list[str]) -> None:
    """Let `code` be code, and no other mark than that mean anything: docstrings are plain text with code in it."""
    if (what == "class" and given.__doc__ is None) or inspect.isbuiltin(given):
        return
    spans = re.compile(r"(`+[^`]+`+)")
    for number, line in enumerate(lines):
        parts = spans.split(line)
        plain = [re.sub(r"([*|\\]|_(?=\W|$))", r"\\\1", part) for part in parts[::2]]
        code = [f"``{part.strip('`')}``" for part in parts[1::2]]
        lines[number] = "".join(piece for pair in zip(plain, [*code, ""], strict=True) for piece in pair)


def visit_inline(self: Any, node: nodes.math) -> None:
    """Write an equation within a line."""
    self.body.append(tex2mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def visit_block(self: Any, node: nodes.math_block) -> None:
    """Write an equation on lines of its own."""
    self.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def depart(self: Any, node: nodes.Element) -> None:
    """Nothing is left to write."""
