"""Charts: what is drawn, and what may not be in them."""

import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest
from markupsafe import Markup

from ledger.charts import KINDS, MARKERS, Series, draw_bars, draw_lines

SVG = "{http://www.w3.org/2000/svg}"
ONE = (Series("a", (1, 2, 3)), Series("b", (None, 4, None), joined=False))


def written(value: float) -> str:
    """Write a value as an axis does."""
    return f"{value:g} s"


@pytest.mark.parametrize("draw", [draw_lines, draw_bars])
def test_a_chart_is_shapes_and_words_alone(draw: Callable[..., Markup]) -> None:
    """No script, style, identifier or address of another place, whatever the names are."""
    hostile = (Series("<script>x</script>", (1,)), Series('" onload="x', (2,)))
    drawn = draw(("<b>",), hostile, written, "words")
    found = {element.tag.removeprefix(SVG) for element in ET.fromstring(drawn).iter()}
    assert found <= {"svg", "g", "path", "rect", "text", "title"}
    assert not re.search(r"\s(?:id|style|on\w+|href)=|<script|<b>|Generated", drawn)
    assert 'role="img" aria-labelledby="words"' in drawn.replace('class="chart" ', "")


def test_points_have_markers_and_titles() -> None:
    """A point without a value is not drawn; each series has its own shape; a point says what it is."""
    drawn = draw_lines(("x", "y", "z"), ONE, written)
    assert (drawn.count("marker hue-0"), drawn.count("marker hue-1")) == (3, 1)
    assert "<title>y: 4 s</title>" in drawn
    assert len(set(MARKERS)) == KINDS
    lines = [path for path in ET.fromstring(drawn).iter(f"{SVG}path") if "nofill" in path.get("class", "")]
    assert len(lines) == 1, "a series that is not joined has no line"


def test_bars_have_patterns() -> None:
    """Every bar has its series' pattern over it, of the same size."""
    drawn = draw_bars(("x", "y", "z"), (Series("a", (1, 2, 3)), Series("b", (1, 1, 1))), written)
    bars = {number: drawn.count(f"bar hue-{number}") for number in range(3)}
    assert bars == {0: 3, 1: 3, 2: 0}
    for number in range(2):
        assert drawn.count(f'fill="url(#pattern-{number})"') == 3


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_few_labels_are_written(count: int) -> None:
    """They do not run into each other, however many runs there are."""
    labels = [f"v{number}" for number in range(count)]
    drawn = draw_lines(labels, (Series("a", (1.0,) * count),), written)
    assert 1 <= len(re.findall(r">v[0-9]+</text>", drawn)) <= 6


def test_more_series_than_patterns() -> None:
    """They begin again, and none is without one."""
    drawn = draw_bars(("x",), [Series(str(number), (1,)) for number in range(KINDS + 1)], written)
    assert drawn.count("bar hue-0") == 2


def test_nothing_to_draw() -> None:
    """A chart without values is an empty one, and no error."""
    for draw in (draw_lines, draw_bars):
        assert "<svg" in draw(("x",), (Series("a", (None,)),), written)
        assert "<svg" in draw((), (), written)


def test_the_library_leaves_imports_alone() -> None:
    """An importer that it hooks in would slow down, and on Python 3.11 warn of, every import of the service."""
    draw_lines(("x",), ONE, written)
    assert [finder for finder in sys.meta_path if type(finder).__module__.startswith("pygal")] == []
