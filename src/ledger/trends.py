"""Durations of builds over time, and the small charts that show them."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

SERIES_SHOWN = 12
RUNS_SHOWN = 30
RUNS_CONSIDERED = 2000
WIDTH, HEIGHT, MARGIN = 160, 36, 4

Point = tuple[float, float]

# Only builds that passed: a failed one stops early and would look like a gain.
# Only so many of them: a page must not take longer with every build that was ever recorded.
QUERY = """
    WITH latest AS (
        SELECT * FROM runs WHERE kind = 'build' AND outcome = 'passed'
        ORDER BY started_us DESC, id DESC LIMIT :considered
    ), builds AS (
        SELECT project, target, python, duration_seconds, started_us,
               row_number() OVER (PARTITION BY project, target, python ORDER BY started_us DESC, id DESC) AS age
        FROM latest
    )
    SELECT project, target, python,
           json_group_array(json_array(age, duration_seconds)) AS runs
    FROM builds WHERE age <= :runs
    GROUP BY project, target, python HAVING count(*) > 1
    ORDER BY max(started_us) DESC LIMIT :series
"""


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


def series(db: sqlite3.Connection) -> tuple[Series, ...]:
    """Return the series with the latest builds; one build alone is no trend."""
    rows = db.execute(QUERY, {"considered": RUNS_CONSIDERED, "runs": RUNS_SHOWN, "series": SERIES_SHOWN})
    return tuple(Series(row["project"], row["target"], row["python"], _oldest_first(row["runs"])) for row in rows)


def _oldest_first(runs: str) -> tuple[float, ...]:
    """Order the pairs of age and duration here: an aggregate promises no order."""
    return tuple(duration for _age, duration in sorted(json.loads(runs), reverse=True))


def points(values: Sequence[float]) -> tuple[Point, ...]:
    """Scale values to the chart; zero is the bottom, so that a small change looks small."""
    step = (WIDTH - 2 * MARGIN) / max(len(values) - 1, 1)
    scale = (HEIGHT - 2 * MARGIN) / (max(values) or 1)
    return tuple(
        (round(MARGIN + number * step, 1), round(HEIGHT - MARGIN - value * scale, 1))
        for number, value in enumerate(values)
    )
