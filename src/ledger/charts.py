"""Draw charts as SVG that needs no script, no style of its own and no colour to be read.

pygal does the drawing. What its drawings hold beyond shapes and words is taken out, so that the pages' strict policy
stands: scripts, style sheets, identifiers. Each series gets a pattern or a marker besides its colour, which the
pages' own style sheet chooses, light or dark.
"""

import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from markupsafe import Markup

WIDTH, HEIGHT = 480, 210
MOST_LABELS = 6
KINDS = 6
"""So many series have a pattern and a marker of their own."""
MARKERS = (
    "M-3.5,0a3.5,3.5 0 1,0 7,0a3.5,3.5 0 1,0 -7,0Z",  # a disc
    "M-3.5,-3.5h7v7h-7Z",  # a square
    "M0,-4.5L4.5,3.5H-4.5Z",  # a triangle
    "M0,-4.5L4.5,0L0,4.5L-4.5,0Z",  # a diamond
    "M-1.2,-4h2.4v2.8h2.8v2.4h-2.8v2.8h-2.4v-2.8h-2.8v-2.4h2.8Z",  # a cross
    "M0,4.5L4.5,-3.5H-4.5Z",  # a triangle that stands on its tip
)


@dataclass(frozen=True)
class Series:
    """Values in the order of the labels, None where there is none; `joined` draws a line through the points."""

    name: str
    values: tuple[float | None, ...]
    joined: bool = True


def draw_lines(
    labels: Sequence[str], series: Sequence[Series], written: Callable[[float], str], captions: str = ""
) -> Markup:
    """Return a chart of lines with markers; `captions` is the id of what names it on its page."""
    chart = _pygal().Line(**_options(labels, written), range=(0, _highest(series)), dots_size=3)
    return _draw(chart, labels, series, captions)


def draw_bars(
    labels: Sequence[str], series: Sequence[Series], written: Callable[[float], str], captions: str = ""
) -> Markup:
    """Return a chart of bars, the series of one label on top of each other."""
    return _draw(_pygal().StackedBar(**_options(labels, written), spacing=6), labels, series, captions)


@cache
def _pygal() -> Any:
    """Import pygal when the first chart is drawn: a health check needs none."""
    import pygal

    # It hooks an importer for plug-ins of its own, in a form that Python 3.11 warns of at every later import.
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)]
    return pygal


def _options(labels: Sequence[str], written: Callable[[float], str]) -> dict[str, Any]:
    return {
        "js": (), "css": (), "no_prefix": True, "width": WIDTH, "height": HEIGHT, "margin": 6, "zero": 0,
        "show_legend": False, "truncate_label": -1, "margin_right": 26, "max_scale": 5, "min_scale": 3,
        "value_formatter": written, "show_minor_x_labels": False, "no_data_text": "",
        "x_labels_major_every": max(1, -(-len(labels) // MOST_LABELS)),
    }  # fmt: skip


def _highest(series: Sequence[Series]) -> float:
    return max((value for one in series for value in one.values if value is not None), default=0) or 1


def _draw(chart: Any, labels: Sequence[str], series: Sequence[Series], captions: str) -> Markup:
    chart.x_labels = list(labels)
    for one in series:
        chart.add(one.name, list(one.values), stroke=one.joined)
    drawing: ET.Element = chart.render_tree()
    _strip(drawing)
    for group in drawing.iter("g"):
        words = group.get("class", "").split()
        if words[:1] == ["series"]:
            number = int(words[2].removeprefix("color-")) % KINDS
            for holder in list(group.iter("g")):
                _dress(holder, number)
    drawing.set("role", "img")
    drawing.set("class", "chart")
    if captions:
        drawing.set("aria-labelledby", captions)
    # The tree holds text, never markup: whatever a record brought is escaped here.
    return Markup(ET.tostring(drawing, encoding="unicode"))  # noqa: S704


def _strip(element: ET.Element) -> None:
    """Take out, all the way down, what is no shape and no word; the words about a point become its title."""
    for attribute in ("id", "style"):
        element.attrib.pop(attribute, None)
    told = {child.get("class", ""): child.text or "" for child in element if child.tag == "desc"}
    for child in list(element):
        overlay = child.get("class", "").endswith(("text-overlay", "tooltip-overlay"))
        if child.tag not in ("g", "path", "rect", "circle", "text") or overlay:
            element.remove(child)
        else:
            _strip(child)
    if "value" in told:
        title = ET.SubElement(element, "title")
        title.text = f"{told.get('x_label', '')}: {told['value']}".lstrip(": ")


def _dress(holder: ET.Element, number: int) -> None:
    """Give the points of a series its marker, and lay its pattern over the colour of its bars."""
    for shape in list(holder):
        if shape.tag == "circle":
            place = f"translate({float(shape.get('cx', 0)):.2f} {float(shape.get('cy', 0)):.2f})"
            marker = {"d": MARKERS[number], "transform": place, "class": f"marker hue-{number}"}
            holder.insert(0, ET.Element("path", marker))
            holder.remove(shape)
        elif shape.tag == "rect":
            shape.set("class", f"bar hue-{number}")
            over = {name: shape.get(name, "0") for name in ("x", "y", "width", "height")}
            # The patterns are on the page once: see patterns() in _parts.html.
            holder.append(ET.Element("rect", {**over, "fill": f"url(#pattern-{number})", "class": "over"}))
