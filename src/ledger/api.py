"""The JSON interface: record a run, list runs, show one."""

from typing import Any

from flask import Blueprint, Response, current_app, jsonify, request, url_for
from werkzeug.exceptions import RequestEntityTooLarge

from ledger import records, runs
from ledger.auth import token_required
from ledger.database import get_db
from ledger.errors import APIError, InvalidRecordError

bp = Blueprint("api", __name__, url_prefix="/api")

STATUS = {runs.Added.NEW: 201, runs.Added.KNOWN: 200}


@bp.post("/runs")
@token_required
def record_run() -> Response:
    """Store the run in the request's body; sending the same one again changes nothing."""
    record = _valid_record()
    added = runs.add(get_db(), record)
    if added is runs.Added.CONFLICT:
        raise APIError(409, "conflict", f"another run is already recorded under the id {record['id']}")
    response = jsonify(record)
    response.status_code = STATUS[added]
    response.headers["Location"] = url_for(".show_run", run_id=record["id"])
    return response


def _valid_record() -> dict[str, Any]:
    if request.mimetype != "application/json":
        raise APIError(415, "unsupported_media_type", "send the record as Content-Type: application/json")
    try:
        record = records.parse(_body())
    except records.MalformedJSONError as error:
        raise APIError(400, "malformed_json", f"the body is not valid JSON: {error}") from error
    violations = records.violations(record)
    if violations:
        raise InvalidRecordError(violations)
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
def list_runs() -> Response:
    """List runs, newest first; `next` is the address of the following page, null on the last one."""
    filters = runs.Filters.parse(request.args)
    page = runs.find(get_db(), filters)
    following = url_for(".list_runs", **filters.next_page(page.last)) if page.last else None
    return jsonify(runs=page.records, next=following)


@bp.get("/runs/<run_id>")
def show_run(run_id: str) -> Response:
    """Show one run as it was recorded."""
    record = runs.get(get_db(), run_id)
    if record is None:
        raise APIError(404, "not_found", "no run is recorded under this id")
    return jsonify(record)
