"""Draw the benchmark of images as an SVG, and write it down as a page (pure)."""

from collections.abc import Iterable, Mapping, Sequence
from xml.sax.saxutils import escape

import aims
from aims import MEASURES, OURS, RECIPES, YARDSTICKS, Measure, Samples, judge, medians

WIDTH, NAMES, NUMBERS = 860, 230, 80
"""Pixels: the whole chart, the recipes' names at its left, the numbers at its right."""
BAR, GAP, HEAD = 18, 6, 38
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.number { fill: #59636e }
.bar { fill: #afb8c1 }
.ours { fill: #0969da }
.limit { stroke: #cf222e; stroke-width: 2; stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .number { fill: #9198a1 }
  .bar { fill: #545d68 }
  .ours { fill: #4493f8 }
  .limit { stroke: #f85149 }
}
"""


def draw(samples: Samples) -> str:
    """Return the chart: a panel of bars per measure, ours in a colour, a broken line where the aim lies."""
    values = medians(samples)
    verdicts = judge(samples)
    height, panels = 0, []
    for measure in MEASURES:
        if of := values.get(measure.name):
            limits = [one.limit for one in verdicts if one.measure == measure.name]
            panels.append(panel(measure, of, min(limits, default=None), height))
            height += HEAD + len(of) * (BAR + GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' aria-label="Sizes and times of images by recipe">\n<style>{STYLE}</style>\n{"".join(panels)}</svg>\n'
    )


def panel(measure: Measure, values: Mapping[str, float], limit: float | None, top: int) -> str:
    """Return the bars of one measure, whose heading stands `top` pixels from the top."""
    room = WIDTH - NAMES - NUMBERS
    scale = room / max([*values.values(), limit or 0, 1e-9])
    parts = [text(0, top + HEAD - 12, measure.title, "title")]
    bottom = top + HEAD
    for recipe in (*RECIPES, *YARDSTICKS):
        if recipe.name in values:
            long = values[recipe.name] * scale
            kind = "bar ours" if recipe.name == OURS else "bar"
            parts.append(text(NAMES - 10, bottom + BAR - 5, recipe.title, "name", end=True))
            parts.append(f'<rect class="{kind}" x="{NAMES}" y="{bottom}" width="{long:.1f}" height="{BAR}" rx="2"/>\n')
            near = limit is not None and 0 <= limit * scale - long < NUMBERS  # the line would go through the number
            beside = (limit * scale if near and limit else long) + 6
            parts.append(text(NAMES + beside, bottom + BAR - 5, measure.show(values[recipe.name]), "number"))
            bottom += BAR + GAP
    if limit is not None:
        at = f"{NAMES + limit * scale:.1f}"
        parts.append(f'<line class="limit" x1="{at}" x2="{at}" y1="{top + HEAD - 4}" y2="{bottom - 2}"/>\n')
    return "".join(parts)


def text(x: float, y: float, words: str, kind: str, *, end: bool = False) -> str:
    """Return words that begin, or with `end` end, at a point."""
    anchor = ' text-anchor="end"' if end else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{anchor}>{escape(words)}</text>\n'


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown; every column but the first is aligned right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def page(samples: Samples, about: Mapping[str, str], picture: str) -> str:
    """Return the page that shows a run: `about` is what it ran on, `picture` the chart's file beside the page."""
    return PAGE.format(
        ran="\n".join(f"- {name}: {value}" for name, value in about.items()),
        recipes="\n".join(f"- **{recipe.name}**: {recipe.title}" for recipe in aims.measured(samples)),
        meanings="\n".join(
            f"- **{measure.title}**: {measure.meaning}"
            for measure in MEASURES
            if measure.meaning and samples.get(measure.name)
        ),
        numbers=markdown(aims.header(samples), aims.rows(samples)),
        aims=markdown(("measured", "aim", "ours", "limit", ""), aims.verdict_rows(judge(samples))),
        picture=picture,
        container=ratio_of_container(samples),
    )


def ratio_of_container(samples: Samples) -> str:
    """Return how much longer the container that only copies takes than a bare COPY, '?' where one is not measured."""
    lines = aims.medians(samples).get("source", {})
    container, copy = (lines.get(yardstick.name) for yardstick in reversed(aims.YARDSTICKS))
    return f"{container / copy:.2f}" if container and copy else "?"


PAGE = """\
# Our image beside the common recipes

`python benchmarks/images.py --write-docs` measures all of this and writes this page; change the program, not the page.

One small app (Flask, SQLAlchemy, Alembic, requests, PyMySQL, gunicorn) is packed in six ways from one base, one hashed
lock and one source, by one engine, in rounds in which each recipe has its turn, so that a noisy machine disturbs all
alike. The recipes are in [benchmarks/recipes](../../benchmarks/recipes). Ours is this repository's own Dockerfile.

The base has no bytecode for the standard library, because Docker's official images have none.

![Sizes and times by recipe; a broken red line marks the aim]({picture})

## Numbers

Times are medians, with the best of all in brackets. The machine was not alone with this: where the two lie far apart,
something else was running, and the ratios say more than the seconds.

{numbers}

{recipes}

{meanings}

## Aims

{aims}

## Why

- **start**: of our image and of the one with everything compiled, nothing is compiled when it starts. They are equal
  where their medians lie no further apart than the middle half of the other one's own starts.
- **one dependency changed**: each package is kept as it was installed and compiled. The new one is fetched and
  compiled, and one of four layers is packed again. Ours is told, as `invoke build` tells it, that no package is built
  from source (`WHEELS_FROM=scratch`); a bare `docker buildx build` starts two more containers to find that out.
- **one line changed**: ours also starts a container that compiles the line. No image has all its bytecode without
  one, and one that runs nothing but `cp` takes {container} of a bare COPY. Most of the rest is BuildKit's: for its
  history it asks for the layers of each step once an image is exported, 2 to 3 ms for each of our fifteen.
- **from nothing**: the recipes stand on a base that is there, packed and unpacked. So does ours, though it is
  `FROM scratch`: `invoke build` keeps the layers of the interpreter, packed, with the base that they are made from.
  Only the bytecode of the library, with which later steps start sooner, is made anew. A new base, another version of
  Dockyard or another `keep` costs what **the interpreter's layers** take, once.

## What it ran on

{ran}
"""
