"""The pages as a browser shows them: headless Chromium, light and dark, wide and narrow."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fedsieve.reports.comparison import write_comparison
from fedsieve.reports.page import write_report
from fedsieve.reports.settings import group_by_setting
from fedsieve.runs.reading import read_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]

WAYS = [(scheme, width) for scheme in ("light", "dark") for width in (1280, 400)]

FACTS = """() => {
  const luminance = ([r, g, b]) => {
    const part = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const colour = text => text.match(/[\\d.]+/g).map(Number);
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const found = colour(getComputedStyle(at).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const within = (one, other) =>
    one.left >= other.left - 1 && one.right <= other.right + 1 &&
    one.top >= other.top - 1 && one.bottom <= other.bottom + 1;
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    if (!node.data.trim() || element.closest("title, style, defs")) continue;
    const box = element.getBoundingClientRect();
    if (!box.width) continue;
    const svg = element.closest("svg");
    const images = svg ? [...svg.querySelectorAll("image")].map(image => image.getBoundingClientRect()) : [];
    const style = getComputedStyle(element), ends = svg ? svg.getBoundingClientRect() : null;
    texts.push({
      text: node.data.trim(),
      inCell: images.some(image => within(box, image)),
      inFigure: Boolean(svg),
      cutOff: svg ? !within(box, ends) : false,
      contrast: contrast(colour(svg ? style.fill : style.color), behind(element)),
      pixels: parseFloat(style.fontSize) * (svg ? svg.getScreenCTM().a : 1),
    });
  }
  return {
    texts,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    scripts: document.scripts.length,
    unnamed: document.querySelectorAll("svg:not([role=img][aria-label])").length,
  };
}"""


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Chromium; without it skip."""
    if CHROMIUM is None:
        pytest.skip("no chromium is installed: pages are not looked at")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def pages(runs: Path) -> dict[str, Path]:
    """The page of a run, against a local-only one, and one that compares the two."""
    pub, alone = read_run(runs / "pub"), read_run(runs / "alone")
    comparison = runs / "comparison.html"
    write_comparison(comparison, group_by_setting([pub, alone]))
    return {"run": write_report(pub, alone), "images": runs / "images" / "report.html", "comparison": comparison}


def opened(browser: "Browser", path: Path, scheme: Any, width: int) -> "tuple[Page, list[str], list[str]]":
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, asked, said = context.new_page(), list[str](), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.resolve().as_uri(), wait_until="networkidle")
    return page, asked, said


@pytest.mark.parametrize("name", ["run", "images", "comparison"])
@pytest.mark.parametrize(("scheme", "width"), WAYS)
def test_a_page_is_readable_and_needs_nothing_else(
    name: str, scheme: str, width: int, browser: "Browser", pages: dict[str, Path]
):
    page, asked, said = opened(browser, pages[name], scheme, width)
    facts = page.evaluate(FACTS)
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].resolve().as_uri()]
    assert said == []
    assert facts["scripts"] == facts["unnamed"] == 0
    assert facts["overflow"] == 0
    texts = facts["texts"]
    assert len(texts) > 100
    assert [text for text in texts if text["contrast"] < 4.5 and not text["inCell"]] == []
    assert [text for text in texts if text["pixels"] < (9 if text["inFigure"] else 12)] == []
    assert [text for text in texts if text["cutOff"]] == []
    assert "mathdefault" not in page.content(), "an axis' numbers are TeX"
    page.context.close()


def test_light_and_dark_are_two_papers(browser: "Browser", pages: dict[str, Path]):
    papers = set()
    for scheme in ("light", "dark"):
        page, _, _ = opened(browser, pages["run"], scheme, 1280)
        papers.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.context.close()
    assert papers == {"rgb(255, 255, 255)", "rgb(23, 25, 30)"}


def test_the_pointer_finds_clients_rounds_and_cells(browser: "Browser", pages: dict[str, Path]):
    page, _, _ = opened(browser, pages["run"], "light", 1280)
    found = page.evaluate(
        """() => [...document.querySelectorAll('.zone, .reach')].map(element => {
          element.scrollIntoView({block: 'center'});
          const box = element.getBoundingClientRect();
          const line = element.classList.contains('reach');
          let [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
          if (line) {
            const point = element.getPointAtLength(element.getTotalLength() / 2);
            ({x, y} = point.matrixTransform(element.getScreenCTM()));
          }
          const under = document.elementFromPoint(x, y)?.closest('.zone, .hover');
          return {line, told: under?.querySelector('title')?.textContent ?? ''};
        })"""
    )
    lines = {each["told"] for each in found if each["line"]}
    zones = [each["told"] for each in found if not each["line"]]
    assert all(lines), lines
    assert any(told.startswith("client ") for told in lines)
    assert all(zones)
    assert any(told.startswith("clients 0 and") for told in zones)
    assert any(", local-only " in told for told in zones)
    page.context.close()
