"""The ledger's pages in a real browser: drawn, usable by keyboard, quiet, of one host, in both schemes, on a phone."""

import html
import re
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from dockyard.engine.client import Engine
from dockyard.settings import Settings

from .browser import Browser, Page, open_browser
from .report_server import serve_sample

KINDS = ("overview", "runs", "image", "tests", "releases", "compare", "build", "verify", "audit", "release", "lock")
LOOKS = {"desktop": (1280, 900, False), "desktop, dark": (1280, 900, True), "phone": (320, 640, False),
         "phone, dark": (320, 640, True)}  # fmt: skip

DRAWN = """
[...document.querySelectorAll("figure")].map(figure => {
  const chart = figure.querySelector("svg.chart[role=img]"), box = chart.getBoundingClientRect();
  const drawn = [...chart.querySelectorAll("path.marker, rect.bar")];
  const marks = drawn.filter(mark => mark.getBoundingClientRect().width > 0);
  const fills = new Set(marks.map(mark => getComputedStyle(mark).fill));
  const patterns = [...chart.querySelectorAll(".over")].map(over => over.getAttribute("fill").slice(5, -1));
  return {title: figure.querySelector("h2").textContent, width: box.width, height: box.height, marks: marks.length,
          fills: [...fills], lost: patterns.filter(id => !document.getElementById(id)).length,
          labels: chart.querySelectorAll(".axis text").length};
})
"""
"""What is to be seen of each chart."""

FAINT = """
(() => {
  const channel = value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const parse = text => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r / 255) + 0.7152 * channel(g / 255) + 0.0722 * channel(b / 255);
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || element.closest("title, desc, defs") || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const ink = light(parse(element.closest("svg") ? style.fill : style.color)), paper = light(behind(element));
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 4.5) found.push(`${element.textContent.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return [...new Set(found)];
})()
"""
"""Texts whose contrast is below that of WCAG 2.2, 1.4.3 (AA)."""

FOCUS = """
(() => {
  const here = document.activeElement, box = here.getBoundingClientRect(), style = getComputedStyle(here);
  return {words: here.textContent.trim().replace(/\\s+/g, " ").slice(0, 60), tag: here.tagName,
          seen: box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
          outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0,
          place: [...document.querySelectorAll("*")].indexOf(here)};
})()
"""
"""What has the focus, and whether a person sees that."""

FOCUSABLE = """
[...document.querySelectorAll("a[href], summary, [tabindex='0']")].filter(one => one.checkVisibility()).length
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of the pages of the sample."""
    with serve_sample(tmp_path_factory.mktemp("runs")) as address:
        yield address


@pytest.fixture(scope="module")
def browser(project: Settings, engine: Engine, worker: str) -> Iterator[Browser]:
    """Yield a browser."""
    with open_browser(project, engine, worker) as made:
        yield made


@pytest.fixture(scope="module")
def worker() -> str:
    """Return a name for the browser's container that no other run has."""
    import secrets

    return f"dockyard-test-browser-{secrets.token_hex(4)}"


@pytest.fixture
def page(browser: Browser) -> Page:
    """Return a page as a desktop has it."""
    made = browser.new_page()
    made.look(1280, 900)
    return made


@pytest.fixture(scope="module")
def addresses(server: str) -> dict[str, str]:
    """Return the address of one page of each kind."""

    def links(path: str, pattern: str) -> list[str]:
        with urllib.request.urlopen(server.rstrip("/") + path, timeout=30) as answer:
            return [html.unescape(link) for link in re.findall(pattern, answer.read().decode())]

    found = {name: f"/{name}?project=shop" for name in ("image", "tests", "releases", "runs")} | {"overview": "/"}
    for kind in KINDS[6:]:
        found[kind] = links(f"/runs?project=shop&kind={kind}", r'href="(/runs/[0-9a-f]{32})"')[0]
    found["compare"] = links(found["build"], r'href="(/compare[^"]*)"')[-1]
    return {name: server.rstrip("/") + path for name, path in found.items()}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_quiet_and_fits(page: Page, addresses: dict[str, str], server: str, kind: str, look: str) -> None:
    """No complaint in the console, no request to another host, nothing wider than the screen, no faint text."""
    width, height, dark = LOOKS[look]
    page.look(width, height, dark=dark)
    page.open(addresses[kind])
    assert page.problems == []
    assert {urlsplit(url).netloc for url in page.requests} == {urlsplit(server).netloc}
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(FAINT) == []
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") is dark


@pytest.mark.parametrize("look", LOOKS)
def test_charts_are_drawn(page: Page, addresses: dict[str, str], look: str) -> None:
    """Each has marks of a size and a colour, patterns that are there, and labels."""
    width, height, dark = LOOKS[look]
    page.look(width, height, dark=dark)
    page.open(addresses["image"])
    charts: list[dict[str, Any]] = page.evaluate(DRAWN)
    assert [chart["title"] for chart in charts] == [
        "Size by layer", "Build time", "Start", "Tests", "Steps from the cache", "Known vulnerabilities",
    ]  # fmt: skip
    for chart in charts:
        assert 200 < chart["width"] <= width, chart
        assert chart["height"] > 100, chart
        assert chart["marks"] >= 8, chart
        assert chart["lost"] == 0, chart
        assert chart["labels"] >= 5, chart
        assert chart["fills"], chart
        assert not {"none", "rgba(0, 0, 0, 0)", "rgb(0, 0, 0)"} & set(chart["fills"]), chart


def test_a_time_line_is_drawn(page: Page, addresses: dict[str, str]) -> None:
    """Each step has a bar that can be seen, and those that ran are where their time was."""
    page.open(addresses["build"])
    widths = page.evaluate(
        "[...document.querySelectorAll('.timeline rect')].map(bar => bar.getBoundingClientRect().width)"
    )
    assert len(widths) == 7
    assert all(width > 0.5 for width in widths)


@pytest.mark.parametrize("kind", ["overview", "image", "compare"])
def test_the_keyboard_reaches_everything_in_order(page: Page, addresses: dict[str, str], kind: str) -> None:
    """Each focus is seen, none is met twice, and they come as the page reads."""
    page.open(addresses[kind])
    count = page.evaluate(FOCUSABLE)
    places = []
    for _ in range(count):
        page.press("Tab")
        focus = page.evaluate(FOCUS)
        assert focus["seen"], focus
        assert focus["outlined"], focus
        places.append(focus["place"])
    assert places == sorted(places)
    assert len(set(places)) == count > 10


def test_everything_is_done_by_keyboard(page: Page, addresses: dict[str, str]) -> None:
    """Skip to the content, open a project, open the table beside its first chart, and follow a run in it."""
    page.open(addresses["overview"])
    page.press("Tab")
    assert page.evaluate(FOCUS)["words"] == "Skip to the content"
    page.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    walk_to(page, "shop")
    follow(page)
    assert page.evaluate("document.querySelector('h1').textContent") == "shop"
    walk_to(page, "Table of “Size by layer”")
    page.press("Enter")
    assert page.evaluate("document.querySelector('figure details').open")
    page.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Size by layer"
    page.press("Tab")
    follow(page)
    assert page.evaluate("document.querySelector('h1').textContent") == "Build of shop"
    assert page.problems == []


def walk_to(page: Page, words: str) -> None:
    """Press Tab until something with these words has the focus."""
    for _ in range(80):
        page.press("Tab")
        if page.evaluate(FOCUS)["words"] == words:
            return
    raise AssertionError(f"the keyboard does not reach {words!r}")


def follow(page: Page) -> None:
    """Follow the link that has the focus."""
    before = page.loaded
    page.press("Enter")
    page.wait(before)


@pytest.mark.parametrize("kind", KINDS)
def test_assistive_technology_is_told_names(page: Page, addresses: dict[str, str], kind: str) -> None:
    """Links, images, tables, regions and headings all have one."""
    page.open(addresses[kind])
    told = page.names()
    roles = {role for role, _ in told}
    assert {"heading", "link", "main", "navigation"} <= roles
    needed = {"link", "image", "img", "heading", "navigation", "region", "RootWebArea", "DisclosureTriangle"}
    assert [(role, name) for role, name in told if role in needed and not name] == []
    images = [name for role, name in told if role in ("image", "img")]
    assert len(images) == (6 if kind == "image" else 0), images
    assert len(set(images)) == len(images)
