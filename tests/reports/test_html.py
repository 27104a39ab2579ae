from pathlib import Path

import pytest
from jinja2 import UndefinedError

from fedsieve.reports import html
from fedsieve.reports.theme import DARK, LIGHT


def comparison(**changes: object) -> str:
    values: dict[str, object] = {"title": "t", "shared": "a < b", "rows": {"head": [], "rows": []}, "row_notes": []}
    values |= {"pairs": {"rows": []}, "pair_notes": [], "sections": []}
    return html.fill_template("comparison.html", **(values | changes))


def test_a_page_holds_its_style_and_its_values_are_text():
    page = comparison()
    assert "a &lt; b" in page
    for colours, times in ((LIGHT, 2), (DARK, 1)):  # on paper it is light, whatever the screen is
        assert page.count("".join(f"--{name}:{colour};" for name, colour in colours.items())) == times
    assert "{%" not in page


def test_a_value_that_a_template_lacks_is_an_error():
    with pytest.raises(UndefinedError, match="'shared' is undefined"):
        html.fill_template("comparison.html", title="t")


def test_a_bundle_without_templates_takes_those_that_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    page = comparison()
    html._load_templates.cache_clear()
    monkeypatch.setattr(html, "__file__", str(tmp_path / "fedsieve" / "reports" / "html.py"))
    monkeypatch.syspath_prepend(str(Path(html.fill_template.__code__.co_filename).parents[2]))
    try:
        assert comparison() == page
    finally:
        html._load_templates.cache_clear()
