"""Matplotlib's SVG as a page takes it: colours as CSS variables, words for the pointer, ids of its own."""

import xml.etree.ElementTree as ET
from io import BytesIO, StringIO
from typing import TYPE_CHECKING

from fedsieve.reports.figure import Drawn
from fedsieve.reports.theme import DPI, VARIABLES, use_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SVG = "http://www.w3.org/2000/svg"
LINK = "{http://www.w3.org/1999/xlink}href"

METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def render_svg(drawn: Drawn) -> str:
    """Return the figure as an `<svg>` element for a page in which other figures may be."""
    text = StringIO()
    with use_style():
        _lay_out(drawn.figure)
        drawn.figure.savefig(text, format="svg", transparent=True, metadata=METADATA)
    root = ET.fromstring(text.getvalue().partition("<svg")[1] + text.getvalue().partition("<svg")[2])
    groups = {element.get("id"): element for element in root.iter() if element.get("id")}
    for gid, line_text in drawn.lines.items():
        _add_title(groups[gid], line_text)
    if drawn.zones:
        _add_zones(drawn, groups["axes_1"])
    _prefix_ids(root, drawn.name)
    for element in root.iter():
        if style := element.get("style"):
            element.set("style", _use_variables(style))
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    root.attrib |= {"role": "img", "aria-label": f"{drawn.title}. {drawn.caption}", "class": "plot"}
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    return ET.tostring(root, encoding="unicode")


def render_png(figure: "Figure") -> bytes:
    """Return the figure as the bytes of a PNG file, in the light colours."""
    data = BytesIO()
    with use_style():
        _lay_out(figure)
        figure.savefig(data, format="png", dpi=DPI, metadata={"Software": None}, pil_kwargs={"compress_level": 3})
    return data.getvalue()


def _lay_out(figure: "Figure") -> None:
    """Lay the figure out once: left to itself matplotlib draws it a second time to do so, for SVG and PNG each."""
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine(None)


def _add_title(group: ET.Element, text: str) -> None:
    """Give the artist a title, and a line a wide one that is not seen, which the pointer finds more easily."""
    group.set("class", "hover")
    for path in list(group.iter(f"{{{SVG}}}path")):
        if "fill: none" in path.get("style", ""):
            copy = {key: value for key, value in path.attrib.items() if key in {"d", "clip-path"}}
            ET.SubElement(group, f"{{{SVG}}}path", copy | {"class": "reach"})
    title = ET.Element(f"{{{SVG}}}title")
    title.text = text
    group.insert(0, title)


def _add_zones(drawn: Drawn, group: ET.Element) -> None:
    axes = drawn.figure.axes[0]
    height = drawn.figure.bbox.height
    low, high = axes.get_ylim()
    for at, zone in enumerate(drawn.zones):
        ends = (
            (zone.left, low if zone.bottom is None else zone.bottom),
            (zone.right, high if zone.top is None else zone.top),
        )
        (x0, y0), (x1, y1) = axes.transData.transform(ends)
        box = {"x": min(x0, x1), "y": height - max(y0, y1), "width": abs(x1 - x0), "height": abs(y1 - y0)}
        rectangle = ET.Element(
            f"{{{SVG}}}rect", {key: f"{value:.1f}" for key, value in box.items()} | {"class": "zone"}
        )
        ET.SubElement(rectangle, f"{{{SVG}}}title").text = zone.text
        group.insert(at, rectangle)


def _prefix_ids(root: ET.Element, name: str) -> None:
    """Name the ids that are used after the figure, and remove the others: a page has several figures."""
    used = set()
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == LINK and value.startswith("#"):
                used.add(value[1:])
                element.set(key, f"#{name}-{value[1:]}")
            elif value.startswith("url(#"):
                used.add(value[5:-1])
                element.set(key, f"url(#{name}-{value[5:]}")
    for element in root.iter():
        if (given := element.attrib.pop("id", None)) in used:
            element.set("id", f"{name}-{given}")


def _use_variables(style: str) -> str:
    """Return a style with the theme's light colours as CSS variables."""
    declarations = (part.partition(":") for part in style.split(";") if part.strip())
    return "; ".join(f"{key.strip()}: {VARIABLES.get(value.strip(), value.strip())}" for key, _, value in declarations)
