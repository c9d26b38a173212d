"""Durations of builds over time, and the small charts that show them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from ledger.models import Run

SERIES_SHOWN = 12
RUNS_SHOWN = 30
RUNS_CONSIDERED = 2000
WIDTH, HEIGHT, MARGIN = 160, 36, 4

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """The durations, in seconds and oldest first, of the builds of one target for one Python."""

    project: str
    target: str | None
    python: str | None
    durations: tuple[float, ...]

    @property
    def line(self) -> str:
        """Return the chart's line as the points of an SVG polyline."""
        return " ".join(f"{x:g},{y:g}" for x, y in points(self.durations))

    @property
    def area(self) -> str:
        """Return the surface between the line and zero as the points of an SVG polygon."""
        bottom = HEIGHT - MARGIN
        return f"{MARGIN},{bottom} {self.line} {self.end[0]:g},{bottom}"

    @property
    def end(self) -> Point:
        """Return where the line ends: the latest build."""
        return points(self.durations)[-1]


def series(session: Session) -> tuple[Series, ...]:
    """Return the series with the latest builds; one build alone is no trend."""
    # Only builds that passed: a failed one stops early and would look like a gain.
    # Only so many of them: a page must not take longer with every build that was ever recorded.
    query = (
        select(Run.project, Run.target, Run.python, Run.duration_seconds)
        .where(Run.kind == "build", Run.outcome == "passed")
        .order_by(Run.started_us.desc(), Run.id.desc())
        .limit(RUNS_CONSIDERED)
    )
    durations: dict[tuple[str, str | None, str | None], list[float]] = {}
    for project, target, python, seconds in session.execute(query):
        durations.setdefault((project, target, python), []).append(seconds)
    trends = (Series(*key, tuple(reversed(found[:RUNS_SHOWN]))) for key, found in durations.items() if len(found) > 1)
    return tuple(islice(trends, SERIES_SHOWN))


def points(values: Sequence[float]) -> tuple[Point, ...]:
    """Scale values to the chart; zero is the bottom, so that a small change looks small."""
    step = (WIDTH - 2 * MARGIN) / max(len(values) - 1, 1)
    scale = (HEIGHT - 2 * MARGIN) / (max(values) or 1)
    return tuple(
        (round(MARGIN + number * step, 1), round(HEIGHT - MARGIN - value * scale, 1))
        for number, value in enumerate(values)
    )
