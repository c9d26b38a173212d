"""The page for people: the latest runs, and how long builds take."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, render_template, request, url_for

from ledger import present, runs, trends
from ledger.models import db

bp = Blueprint("pages", __name__)

bp.add_app_template_filter(present.duration)
bp.add_app_template_filter(present.size)


@bp.app_template_filter()
def moment(started: str) -> datetime:
    """Turn a record's start into a time, in UTC."""
    return datetime.fromisoformat(started).astimezone(UTC)


@bp.app_template_filter()
def details(record: runs.Record) -> Iterator[str]:
    """Say in a few words what came of a run: the image's size, what the cache saved, the tests."""
    image, cache, tests = record.get("image"), record.get("cache"), record.get("tests")
    if image:
        yield present.size(image["size_bytes"])
    if cache:
        yield f"{cache['cached']}/{cache['steps']} cached"
    if tests:
        yield from _tests(tests)


def _tests(tests: dict[str, Any]) -> Iterator[str]:
    yield f"{tests['passed']} passed"
    for outcome in ("failed", "skipped"):
        if tests[outcome]:
            yield f"{tests[outcome]} {outcome}"
    if tests.get("coverage_percent") is not None:
        yield f"{tests['coverage_percent']:.4g} % covered"


@bp.get("/")
def index() -> str:
    """Show the runs that match the filters, and on the unfiltered first page the trends too."""
    filters = runs.Filters.parse(request.args)
    page = runs.find(db.session(), filters)
    first = not request.args
    return render_template(
        "runs.html",
        page=page,
        filters=filters,
        trends=trends.series(db.session()) if first else (),
        chart=(trends.WIDTH, trends.HEIGHT),
        following=url_for(".index", **filters.next_page(page.last)) if page.last else None,
        now=datetime.now(UTC),
        ago=present.ago,
    )
