"""Series of build durations, and their charts."""

from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from ledger import runs, trends
from ledger.models import db

MakeRecord = Callable[..., dict[str, Any]]
Post = Callable[..., TestResponse]


def test_series_are_grouped_and_in_order(app: Flask, make_record: MakeRecord) -> None:
    """Each project, target and Python has its own series, oldest build first; latest series first."""
    with app.app_context():
        for minute, (project, seconds) in enumerate([("a", 1), ("b", 9), ("a", 2), ("b", 8), ("a", 3)]):
            started = f"2026-11-21T01:{minute:02}:00Z"
            runs.add(
                db.session(), make_record(project=project, started=started, duration_seconds=seconds, python="3.13")
            )
        assert trends.series(db.session()) == (
            trends.Series("a", None, "3.13", (1, 2, 3)),
            trends.Series("b", None, "3.13", (9, 8)),
        )


def test_only_builds_that_passed_count(app: Flask, make_record: MakeRecord) -> None:
    """A test run or a failed build is no point of a series, and one build is no series."""
    with app.app_context():
        for changes in ({}, {"kind": "test"}, {"outcome": "failed"}):
            runs.add(db.session(), make_record(**changes))
        assert trends.series(db.session()) == ()


def test_long_history_is_cut(app: Flask, make_record: MakeRecord) -> None:
    """Only the latest builds are in the chart."""
    with app.app_context():
        for second in range(40):
            runs.add(db.session(), make_record(started=f"2026-11-21T01:00:{second:02}Z", duration_seconds=second))
        (series,) = trends.series(db.session())
    assert series.durations == tuple(range(10, 40))


def test_points_fill_the_chart() -> None:
    """The first value is at the left, the last at the right, the largest on top and zero at the bottom."""
    assert trends.points((0, 10, 5)) == ((4, 32), (80, 4), (156, 18))


def test_builds_that_took_no_time() -> None:
    """Zeros alone make a flat line."""
    assert {y for _x, y in trends.points((0, 0))} == {32}


def test_chart_closes_at_the_bottom() -> None:
    """The surface below the line goes down to zero at both ends."""
    series = trends.Series("a", None, None, (10, 5))
    assert series.line == "4,4 156,18"
    assert series.area == "4,32 4,4 156,18 156,32"


def test_page_shows_the_chart(client: FlaskClient, post: Post, make_record: MakeRecord) -> None:
    """The chart says in words what it shows, and only the unfiltered page has it."""
    for second, seconds in enumerate((30, 20)):
        post(make_record(started=f"2026-11-21T01:00:0{second}Z", duration_seconds=seconds, target="production"))
    assert 'aria-label="The last 2 builds, from 30 s to 20 s"' in client.get("/").text
    assert "<svg" not in client.get("/?project=shop").text
