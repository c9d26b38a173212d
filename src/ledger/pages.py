"""The pages for people: all projects, one image over time, the test grid, runs, one run, two compared, releases."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, abort, current_app, render_template, request, url_for

from ledger import charts, comparison, figures, grid, history, present, records, runs, timeline, variants

bp = Blueprint("pages", __name__)

for written in (present.duration, present.seconds, present.size):
    bp.add_app_template_filter(written)

COMPARABLE = 10
FILTERS = ("kind", "outcome", "python")


@bp.app_template_filter()
def moment(started: str) -> datetime:
    """Turn a record's start into a time, in UTC."""
    return datetime.fromisoformat(started).astimezone(UTC)


@bp.app_template_filter()
def details(record: runs.Record) -> Iterator[str]:
    """Say in a few words what came of a run."""
    image, cache, tests = (record.get(name) for name in ("image", "cache", "tests"))
    size = image and (image.get("size_bytes") or image.get("pull_bytes"))
    if size:
        yield present.size(size)
    if cache:
        yield f"{cache['cached']}/{cache['steps']} cached"
    if tests:
        yield from _tests(tests)
    yield from _findings(record)


def _tests(tests: dict[str, Any]) -> Iterator[str]:
    yield f"{tests['passed']} passed"
    for outcome in ("failed", "skipped"):
        if tests[outcome]:
            yield f"{tests[outcome]} {outcome}"
    if tests.get("coverage_percent") is not None:
        yield f"{tests['coverage_percent']:.4g} % covered"


def _findings(record: runs.Record) -> Iterator[str]:
    verify, audit, lock = (record.get(name) for name in ("verify", "audit", "lock"))
    if verify:
        yield present.count(verify["violations"], "violation")
        if verify.get("start_seconds") is not None:
            yield f"first answer {present.seconds(verify['start_seconds'])}"
    if audit:
        yield present.count(sum(not one["accepted"] for one in audit["vulnerabilities"]), "vulnerability")
    if record.get("reproduce"):
        yield str(record["reproduce"]["verdict"])
    if lock:
        yield f"{present.count(len(lock['changes']), 'package')} moved"
    if record.get("release"):
        yield str(record["release"]["version"])
    if record.get("deploy"):
        yield f"{record['deploy']['action']} to {record['deploy']['destination']}"


@bp.app_context_processor
def words() -> dict[str, Any]:
    """Give every page the words for a time: how long ago it was, or its date where the page will be read later."""
    ago = present.date if current_app.config.get("LEDGER_STATIC") else present.ago
    return {"now": datetime.now(UTC), "ago": ago, "label_of": variants.label_of}


@bp.get("/")
def index() -> str:
    """Show every project with how it does, and the latest runs."""
    latest = history.find_page(runs.Filters(limit=15)).records
    cards = [(name, _card(name)) for name in history.list_projects()]
    return render_template("overview.html", cards=cards, latest=latest)


def _card(project: str) -> dict[str, runs.Record | None]:
    """Return the newest run of each kind that a card tells of."""
    return {kind: next(iter(history.find_runs(project, kind, 1)), None) for kind in figures.TOLD}


@bp.get("/runs")
def list_runs() -> str:
    """Show the runs that match the filters."""
    filters = runs.Filters.parse(request.args)
    page = history.find_page(filters)
    following = url_for(".list_runs", **filters.next_page(page.last)) if page.last else None
    return render_template("runs.html", page=page, filters=filters, following=following, choices=_choices(filters))


def _choices(filters: runs.Filters) -> list[tuple[str, list[tuple[str, str, bool]]]]:
    """Return the links by which a list is narrowed: for each filter the values, and which of them holds."""
    matching: dict[str, Any] = filters.matching()
    found = []
    for name, values in (("kind", runs.KINDS), ("outcome", runs.OUTCOMES)):
        others: dict[str, Any] = {key: value for key, value in matching.items() if key != name}
        links = [("all", url_for(".list_runs", **others), name not in matching)]
        links += [(one, url_for(".list_runs", **{**others, name: one}), matching.get(name) == one) for one in values]
        found.append((name, links))
    return found


@bp.get("/image")
def show_image() -> str:
    """Show how one image of a project has changed: size, times, tests, cache, vulnerabilities."""
    project = _project()
    builds = history.find_runs(project, "build")
    known = variants.list_variants(builds)
    wanted = variants.Variant(request.args.get("target", ""), request.args.get("python", ""))
    chosen = wanted if wanted in known else (known or [wanted])[0]
    passed = [one for one in builds if variants.variant_of(one) == chosen and one["outcome"] == "passed"]
    tests, verifies = history.find_runs(project, "test"), history.find_runs(project, "verify")
    shown = (
        figures.size_by_layer(passed),
        figures.build_time(passed),
        figures.start_time(one for one in verifies if variants.variant_of(one) == chosen),
        figures.test_results(one for one in tests if not chosen.python or one.get("python") == chosen.python),
        figures.cache_hits(passed),
        figures.vulnerabilities(history.find_runs(project, "audit")),
    )
    found = [figure for figure in shown if figure]
    if not found and not history.find_latest(project, 1):
        abort(404)
    return render_template(
        "image.html", project=project, variants=known, chosen=chosen, figures=found, markers=charts.MARKERS
    )


@bp.get("/tests")
def show_tests() -> str:
    """Show what came of the tests: Python by commit."""
    project = _project()
    return render_template("tests.html", project=project, grid=grid.make_grid(history.find_runs(project, "test")))


@bp.get("/releases")
def show_releases() -> str:
    """Show what was released: digest, signature and documents."""
    project = _project()
    return render_template("releases.html", project=project, releases=history.find_runs(project, "release"))


@bp.get("/runs/<run_id>")
def show_run(run_id: str) -> str:
    """Show one run: what it was, and its steps as a time line."""
    run = _run(run_id)
    steps = timeline.lay_out(run.get("steps") or (), run["duration_seconds"])
    others = [one for one in history.find_runs(run["project"], run["kind"], 3 * COMPARABLE) if _comparable(one, run)]
    return render_template("run.html", run=run, steps=steps, others=others[:COMPARABLE])


def _comparable(one: runs.Record, other: runs.Record) -> bool:
    """Say whether two runs are about the same image, and not one and the same."""
    return one["id"] != other["id"] and variants.variant_of(one) == variants.variant_of(other)


@bp.get("/compare")
def compare() -> str:
    """Show two runs side by side: what grew, which packages moved, which layers changed."""
    both = [_run(request.args.get(name, "")) for name in ("before", "after")]
    before, after = sorted(both, key=lambda run: records.started_microseconds(run["started"]))
    return render_template(
        "compare.html",
        before=before,
        after=after,
        measures=comparison.compare_measures(before, after),
        packages=comparison.compare_packages(before, after),
        layers=comparison.compare_layers(before, after),
        told=[bool((one.get("image") or {}).get("packages")) for one in (before, after)],
    )


def _project() -> str:
    """Return the project that is asked for; raises FilterError where that can be none."""
    project = runs.Filters.parse({"project": request.args.get("project", "")}).project
    return project or ""


def _run(run_id: str) -> runs.Record:
    run = history.read_run(run_id)
    if run is None:
        abort(404)
    return run
