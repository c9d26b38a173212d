"""The JSON interface: record a run, list runs, show or remove one, a badge, and the document that describes it."""

from typing import Any

from flask import Blueprint, Response, current_app, jsonify, make_response, render_template, request, url_for
from werkzeug.exceptions import RequestEntityTooLarge

from ledger import badges, metrics, openapi, records, runs, tokens
from ledger.errors import APIError
from ledger.models import db
from ledger.openapi import Operation, describes

bp = Blueprint("api", __name__, url_prefix="/api")

VIOLATIONS_TOLD = 50
STATUS = {runs.Added.NEW: 201, runs.Added.KNOWN: 200}


@bp.post("/runs")
@describes(
    Operation(
        "Record a run",
        body="Run",
        answers={201: "Run", 200: "Run"},
        refusals=(400, 409, 413, 415, 422),
        scope=tokens.WRITE,
    )
)
@tokens.scope_required(tokens.WRITE)
def record_run() -> Response:
    """Store the run in the request's body; sending the same one again changes nothing and answers 200."""
    record = _valid_record()
    added = runs.add(db.session(), record)
    if added is runs.Added.CONFLICT:
        raise APIError(409, "conflict", f"another run is already recorded under the id {record['id']}")
    if added is runs.Added.NEW:
        metrics.RECORDED.labels(record["kind"], record["outcome"]).inc()
    response = jsonify(record)
    response.status_code = STATUS[added]
    response.headers["Location"] = url_for(".show_run", run_id=record["id"])
    return response


def _valid_record() -> dict[str, Any]:
    if request.mimetype != "application/json":
        raise APIError(415, "unsupported_media_type", "send the record as Content-Type: application/json")
    if request.mimetype_params.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise APIError(415, "unsupported_media_type", "send the record in UTF-8, as JSON always is (RFC 8259)")
    try:
        record = records.parse(_body())
    except records.MalformedJSONError as error:
        raise APIError(400, "malformed_json", f"the body is not valid JSON: {error}") from error
    violations = records.violations(record)
    if violations:
        told = [violation.as_dict() for violation in violations[:VIOLATIONS_TOLD]]
        raise APIError(422, "invalid_record", "the record breaks its schema", violations=told)
    valid: dict[str, Any] = record
    return valid


def _body() -> bytes:
    limit = current_app.config["MAX_CONTENT_LENGTH"]
    too_large = APIError(413, "too_large", f"a record may have at most {limit} bytes")
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge as error:
        raise too_large from error
    # A chunked body has no length to check first, and is cut off at the limit without an error.
    if request.content_length is None and len(body) >= limit:
        raise too_large
    return body


@bp.get("/runs")
@describes(Operation("List runs", query=openapi.FILTERS, answers={200: "Runs"}, refusals=(400,)))
def list_runs() -> Response:
    """List runs, newest first; `next` is the address of the following page, null on the last one."""
    filters = runs.Filters.parse(request.args)
    page = runs.find(db.session(), filters)
    following = url_for(".list_runs", **filters.next_page(page.last)) if page.last else None
    return jsonify(runs=page.records, next=following)


@bp.get("/runs/<run_id>")
@describes(Operation("Show a run", answers={200: "Run"}, refusals=(404,)))
def show_run(run_id: str) -> Response:
    """Show one run as it was recorded."""
    record = runs.get(db.session(), run_id)
    if record is None:
        raise APIError(404, "not_found", "no run is recorded under this id")
    return jsonify(record)


@bp.delete("/runs/<run_id>")
@describes(Operation("Remove a run", answers={204: None}, refusals=(404,), scope=tokens.DELETE))
@tokens.scope_required(tokens.DELETE)
def remove_run(run_id: str) -> Response:
    """Remove one run for good, such as one that was posted by mistake."""
    if not runs.remove(db.session(), run_id):
        raise APIError(404, "not_found", "no run is recorded under this id")
    return make_response("", 204)


@bp.get("/badges/<path:project>.svg")
@describes(Operation("Show a badge", query=openapi.BADGE, answers={200: "image/svg+xml"}, refusals=(400, 404)))
def show_badge(project: str) -> Response:
    """Draw the outcome of a project's newest run of a kind, as a picture for a README."""
    badge = badges.make(db.session(), project, request.args)
    response = make_response(render_template("badge.svg", badge=badge))
    response.mimetype = "image/svg+xml"
    response.headers["Cache-Control"] = "no-cache, max-age=0"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


@bp.get("/openapi.json")
@describes(Operation("Describe this interface", answers={200: "application/json"}))
def show_document() -> Response:
    """Return this document: OpenAPI 3.1, made from the code that answers."""
    return jsonify(openapi.document(current_app))
