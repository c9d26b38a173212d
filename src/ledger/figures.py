"""Turn records into figures: a chart, the sentence that sums it up, and the table beside it (pure)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ledger import present
from ledger.charts import Series, draw_bars, draw_lines
from ledger.variants import Record, label_of

POINTS = 20
LAYERS = 5
TOLD = ("build", "test", "verify", "audit", "release", "deploy")
"""The kinds of which the overview tells the newest run."""
SEVERITIES = ("critical", "high", "medium", "low", "unknown")


@dataclass(frozen=True)
class Row:
    """One row of a figure's table: the run that it tells of, and its values as text."""

    run: str
    label: str
    started: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Figure:
    """A chart with its words. `name` is its id on the page; `columns` are those of the values."""

    name: str
    title: str
    summary: str
    chart: Markup
    legend: tuple[tuple[int, str], ...]
    """The series that have something to show, by the number of their pattern or marker; none of one alone."""

    points: bool
    """Whether they are drawn as points, and not as bars."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


Draw = Callable[[Sequence[str], Sequence[Series], Callable[[float], str], str], Markup]


@dataclass(frozen=True)
class Plan:
    """How a figure is made of points: its words, how it is drawn, and how a value is written."""

    name: str
    title: str
    draw: Draw
    written: Callable[[float], str]


def make_figure(plan: Plan, found: Sequence[tuple[Record, Sequence[float | None]]], names: Sequence[str],
                summary: str = "", joined: Sequence[bool] = ()) -> Figure | None:  # fmt: skip
    """Return the figure of values by run, newest first; None where there is none to show."""
    if not found:
        return None
    oldest_first = list(reversed(found))
    series = [
        Series(name, tuple(values[number] for _, values in oldest_first), joined[number] if joined else True)
        for number, name in enumerate(names)
    ]
    shown = tuple((number, one.name) for number, one in enumerate(series) if any(one.values))
    labels = [label_of(record) for record, _ in oldest_first]
    rows = tuple(
        Row(record["id"], label_of(record), record["started"], tuple(_write(plan, value) for value in values))
        for record, values in found
    )
    chart = plan.draw(labels, series, plan.written, f"{plan.name}-title")
    legend = shown if len(series) > 1 else ()
    return Figure(plan.name, plan.title, summary, chart, legend, plan.draw is draw_lines, tuple(names), rows)


def _write(plan: Plan, value: float | None) -> str:
    return "-" if value is None else plan.written(value)


def _count(value: float) -> str:
    """Write a whole number; an axis has nothing between them to name."""
    return f"{value:.0f}" if float(value).is_integer() else ""


def _percent(value: float) -> str:
    return f"{value:.0f} %"


def size_by_layer(builds: Iterable[Record]) -> Figure | None:
    """Show what each layer of the builds that passed takes: the largest by name, the others together."""
    found = [(build, layers) for build in builds if (layers := _layers(build))][:POINTS]
    if not found:
        return None
    sizes: dict[str, int] = {}
    for _, layers in found:
        for name, size in layers.items():
            sizes[name] = max(size, sizes.get(name, 0))
    named = sorted(sizes, key=lambda name: -sizes[name])[:LAYERS]
    rest = "other layers" if len(sizes) > len(named) else ""
    points = [
        (build, [*(layers.get(name) for name in named), *([_rest(layers, named)] if rest else [])])
        for build, layers in found
    ]
    totals = [sum(layers.values()) for _, layers in found]
    summary = f"{present.size(totals[0])} unpacked; {_change(totals, present.size)}"
    plan = Plan("size", "Size by layer", draw_bars, present.size)
    return make_figure(plan, points, [*named, *([rest] if rest else [])], summary)


def _layers(build: Record) -> dict[str, int]:
    """Return the bytes of each layer by the instruction that made it; the base image's layers have none."""
    sizes: dict[str, int] = {}
    for layer in (build.get("image") or {}).get("layers") or ():
        name = layer["created_by"] or "base image"
        sizes[name] = sizes.get(name, 0) + layer["size_bytes"]
    return sizes


def _rest(layers: dict[str, int], named: Sequence[str]) -> float:
    return sum(size for name, size in layers.items() if name not in named)


def _change(newest_first: Sequence[float], written: Callable[[float], str]) -> str:
    """Say how the newest value stands to the one before and to the oldest shown."""
    if len(newest_first) < 2:
        return "there is no earlier one to compare with"
    words = []
    for other, name in ((newest_first[1], "the one before"), (newest_first[-1], "the oldest shown")):
        difference = newest_first[0] - other
        amount = (
            f"{written(abs(difference))} {'more' if difference > 0 else 'less'} than" if difference else "the same as"
        )
        words.append(f"{amount} {name}")
    return " and ".join(words)


def build_time(builds: Iterable[Record]) -> Figure | None:
    """Show how long builds that passed took: cold, with nothing from the cache, and warm."""
    latest = list(builds)[:POINTS]
    points: list[tuple[Record, list[float | None]]] = [
        (one, [None, one["duration_seconds"]] if is_cold(one) else [one["duration_seconds"], None]) for one in latest
    ]
    if not points:
        return None
    warm, cold = ([one["duration_seconds"] for one in latest if is_cold(one) is kind] for kind in (False, True))
    words = [f"{name} {present.duration(values[0])}" for name, values in (("warm", warm), ("cold", cold)) if values]
    plan = Plan("build-time", "Build time", draw_lines, present.duration)
    return make_figure(plan, points, ("warm", "cold"), f"Last {', last '.join(words)}", (True, False))


def is_cold(build: Record) -> bool:
    """Say whether nothing of a build came from the cache."""
    cache = build.get("cache")
    return cache is not None and cache["steps"] > 0 and cache["cached"] == 0


def start_time(verifies: Iterable[Record]) -> Figure | None:
    """Show how long the service took to its first answer."""
    started = [one for one in verifies if (one.get("verify") or {}).get("start_seconds") is not None][:POINTS]
    times: list[float] = [one["verify"]["start_seconds"] for one in started]
    points = [(one, [time]) for one, time in zip(started, times, strict=True)]
    plan = Plan("start", "Start", draw_lines, present.seconds)
    summary = f"{present.seconds(times[0])} to the first answer; {_change(times, present.seconds)}" if times else ""
    return make_figure(plan, points, ("first answer",), summary)


def test_results(tests: Iterable[Record]) -> Figure | None:
    """Show how many tests passed, failed and were skipped."""
    points = [(one, [one["tests"][name] for name in OUTCOMES]) for one in tests if one.get("tests")][:POINTS]
    latest = points[0][1] if points else ()
    summary = ", ".join(f"{value} {name}" for name, value in zip(OUTCOMES, latest, strict=False) if value)
    return make_figure(
        Plan("tests", "Tests", draw_bars, _count), points, OUTCOMES, f"{summary or 'no test'} in the last run"
    )


OUTCOMES = ("passed", "failed", "skipped")


def cache_hits(builds: Iterable[Record]) -> Figure | None:
    """Show which part of the steps came from the cache."""
    points = [(one, [100 * one["cache"]["cached"] / one["cache"]["steps"]])
              for one in builds if (one.get("cache") or {}).get("steps")][:POINTS]  # fmt: skip
    shares = [values[0] for _, values in points]
    summary = (
        f"{_percent(shares[0])} in the last build, {_percent(sum(shares) / len(shares))} in all shown" if shares else ""
    )
    plan = Plan("cache", "Steps from the cache", draw_lines, _percent)
    return make_figure(plan, points, ("from the cache",), summary)


def vulnerabilities(audits: Iterable[Record]) -> Figure | None:
    """Show the known vulnerabilities that nobody has accepted, by severity."""
    points = [(one, count_severities(one)) for one in audits if one.get("audit")][:POINTS]
    latest = points[0][1] if points else ()
    words = [f"{value} {name}" for name, value in zip(SEVERITIES, latest, strict=False) if value]
    accepted = _accepted(points[0][0]) if points else 0
    summary = f"{', '.join(words) or 'none'} in the last audit" + (f", {accepted} accepted" if accepted else "")
    plan = Plan("vulnerabilities", "Known vulnerabilities", draw_bars, _count)
    return make_figure(plan, points, SEVERITIES, summary)


def count_severities(audit: Record) -> list[float | None]:
    """Return how many vulnerabilities of each severity count in an audit; none of low interest is left out."""
    found: list[Any] = [one["severity"] for one in audit["audit"]["vulnerabilities"] if not one["accepted"]]
    return [found.count(name) + (found.count("none") if name == "unknown" else 0) for name in SEVERITIES]


def _accepted(audit: Record) -> int:
    return sum(bool(one["accepted"]) for one in audit["audit"]["vulnerabilities"])
