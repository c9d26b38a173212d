"""What the benchmark of images compares, what it aims at, and whether the numbers reach it (pure)."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

OURS = "dockyard"
YARDSTICK = "copy"
SIZE_LIMIT = 31_000_000


@dataclass(frozen=True)
class Recipe:
    """One way to pack the app: its Dockerfile's stem and what people call it."""

    name: str
    title: str


RECIPES = (
    Recipe("pip", "pip install, one stage"),
    Recipe("venv", "virtual environment, two stages"),
    Recipe("cache", "pip with a cache mount"),
    Recipe("uv", "uv, two stages"),
    Recipe("compiled", "everything compiled"),
    Recipe(OURS, "Dockyard"),
)
YARDSTICKS = (Recipe(YARDSTICK, "a bare COPY"), Recipe("container", "a container that copies"))


@dataclass(frozen=True)
class Measure:
    """One thing that is measured: its heading, its unit, bytes or seconds, and what it means."""

    name: str
    title: str
    unit: str = "s"
    meaning: str = ""

    def show(self, value: float) -> str:
        """Return a value as a person reads it."""
        return f"{value / 1e6:.1f} MB" if self.unit == "B" else f"{value:.2f} s"


MEASURES = (
    Measure("size", "pulled", "B", "the sum of the layers as a registry holds them, in millions of bytes."),
    Measure(
        "start",
        "start to first answer",
        meaning="from asking the engine to start a container that exists, until `/healthz` answers; one\n"
        "  worker. The engine's own part is in it; the next row is without.",
    ),
    Measure("process", "of it, since the process began"),
    Measure(
        "dependency",
        "one dependency changed",
        meaning="another version of Alembic in the lock, one that no cache has seen.",
    ),
    Measure(
        "source",
        "one line changed",
        meaning="another line of source. The yardsticks only copy it, at once or by `cp` in a container.",
    ),
    Measure("same", "nothing changed", meaning="the least that a build of this image takes."),
    Measure(
        "nothing",
        "from nothing",
        meaning="`--no-cache`, for which BuildKit empties the cache mounts too, so that the network has a part.\n"
        "  The base is there, packed, and so are the layers of the interpreter that ours keeps with it.",
    ),
    Measure(
        "interpreter",
        "the interpreter's layers",
        meaning="what ours makes and packs once for each base, and keeps with it.",
    ),
)

Samples = Mapping[str, Mapping[str, Sequence[float]]]
"""Measure, then recipe, to its values in the order of the rounds: bytes or seconds."""


@dataclass(frozen=True)
class Verdict:
    """One aim, what was measured, the most it may be, and where that comes from."""

    measure: str
    aim: str
    value: float
    limit: float

    @property
    def reached(self) -> bool:
        """Whether the value is within the limit."""
        return self.value <= self.limit


def medians(samples: Samples) -> dict[str, dict[str, float]]:
    """Return the median of every measure of every recipe that has one."""
    return {
        measure: {recipe: statistics.median(values) for recipe, values in of.items() if values}
        for measure, of in samples.items()
    }


def bests(samples: Samples) -> dict[str, dict[str, float]]:
    """Return the lowest value of every measure of every recipe: what the machine did when least disturbed."""
    return {
        measure: {recipe: min(values) for recipe, values in of.items() if values} for measure, of in samples.items()
    }


def judge(samples: Samples) -> tuple[Verdict, ...]:
    """Compare the medians of ours with the aims; one is left out where what it compares with was not measured."""
    values = medians(samples)
    common = [recipe.name for recipe in RECIPES if recipe.name != OURS]
    wanted: tuple[tuple[str, str, Callable[[float, Sequence[float]], float], Iterable[str]], ...] = (
        ("start", "equal to the best of the others", lambda best, its: best + middle_half(its), common),
        ("dependency", "at most 0.55 of the best of the others", lambda best, _: 0.55 * best, common),
        ("source", "at most 1.6 of a bare COPY", lambda best, _: 1.6 * best, [YARDSTICK]),
        ("nothing", "at most 1.25 of the best of the others", lambda best, _: 1.25 * best, common),
    )
    found = []
    if OURS in values.get("size", {}):
        found.append(Verdict("size", "at most 31 MB", values["size"][OURS], SIZE_LIMIT))
    for measure, aim, limit, names in wanted:
        of = values.get(measure, {})
        against = [(of[name], name) for name in names if name in of]
        if OURS in of and against:
            best, name = min(against)
            found.append(Verdict(measure, aim, of[OURS], limit(best, samples[measure][name])))
    return tuple(found)


def middle_half(values: Sequence[float]) -> float:
    """Return how wide the middle half of some values lies: by as much, two runs of one and the same image differ."""
    if len(values) < 2:
        return 0.0
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return third - first


def header(samples: Samples) -> list[str]:
    """Return the table's columns: what is measured, then the name of every recipe that was."""
    return ["", *(recipe.name for recipe in measured(samples))]


def rows(samples: Samples) -> list[list[str]]:
    """Return a row per measure, with the median and, where there are more values, the best in brackets."""
    middle, best = medians(samples), bests(samples)

    def cell(measure: Measure, recipe: Recipe) -> str:
        values = samples[measure.name].get(recipe.name, ())
        if not values:
            return ""
        shown = measure.show(middle[measure.name][recipe.name])
        return f"{shown} ({best[measure.name][recipe.name]:.2f})" if len(values) > 1 else shown

    found = [measure for measure in MEASURES if any(samples.get(measure.name, {}).values())]
    return [[measure.title, *(cell(measure, recipe) for recipe in measured(samples))] for measure in found]


def measured(samples: Samples) -> list[Recipe]:
    """Return the recipes, and the yardsticks, of which there is a value."""
    names = {name for of in samples.values() for name, values in of.items() if values}
    return [recipe for recipe in (*RECIPES, *YARDSTICKS) if recipe.name in names]


def verdict_rows(verdicts: Iterable[Verdict]) -> list[tuple[str, str, str, str, str]]:
    """Return a row per aim: what is measured, the aim, ours, the limit, and pass or fail."""
    named = {measure.name: measure for measure in MEASURES}
    return [
        (
            named[one.measure].title,
            one.aim,
            named[one.measure].show(one.value),
            named[one.measure].show(one.limit),
            "pass" if one.reached else "fail",
        )
        for one in verdicts
    ]


def document(samples: Samples, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run as JSON takes it: what it ran on, every value, and every aim."""
    told = [{**vars(one), "reached": one.reached} for one in judge(samples)]
    return {"about": dict(about), "samples": samples, "aims": told}
