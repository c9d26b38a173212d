"""Answer every error in the form its reader expects: JSON under /api, a small page elsewhere."""

import logging
import sqlite3
from collections.abc import Iterable, Mapping

from flask import Flask, Response, jsonify, render_template, request
from werkzeug.exceptions import HTTPException, SecurityError

from ledger.records import Violation
from ledger.runs import FilterError

RETRY_SECONDS = "5"

logger = logging.getLogger(__name__)


class APIError(Exception):
    """A refusal with its status, a code for programs, a message for people, and perhaps more headers."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}

    def response(self) -> Response:
        """Return the refusal as JSON."""
        return _json(self.status, {"code": self.code, "message": self.message}, self.headers)


class InvalidRecordError(APIError):
    """A record that breaks the schema, with every violation."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        super().__init__(422, "invalid_record", "the record breaks its schema")
        self.violations = [violation.as_dict() for violation in violations]

    def response(self) -> Response:
        """Return the refusal as JSON, with the list of what is wrong."""
        body = {"code": self.code, "message": self.message, "violations": self.violations}
        return _json(self.status, body, self.headers)


def init_app(app: Flask) -> None:
    """Register the handlers."""
    app.register_error_handler(APIError, lambda error: error.response())
    app.register_error_handler(FilterError, _filter_error)
    app.register_error_handler(sqlite3.OperationalError, _database_error)
    app.register_error_handler(HTTPException, _http_error)


def _for_program() -> bool:
    return request.path == "/api" or request.path.startswith("/api/")


def _json(status: int, error: Mapping[str, object], headers: Mapping[str, str]) -> Response:
    response = jsonify(error=error)
    response.status_code = status
    response.headers.update(headers)
    return response


def _page(status: int, title: str, message: str, headers: Mapping[str, str]) -> Response:
    body = render_template("error.html", title=title, message=message)
    return Response(body, status, headers, mimetype="text/html")


def _filter_error(error: FilterError) -> Response:
    if _for_program():
        return _json(400, {"code": "invalid_filter", "message": str(error), "parameter": error.parameter}, {})
    return _page(400, "Bad Request", str(error), {})


def _database_error(_error: sqlite3.OperationalError) -> Response:
    """Say that the database is busy, full or gone: the same request may succeed later."""
    logger.exception("the database refused a statement")
    message, headers = "the database cannot be used at the moment", {"Retry-After": RETRY_SECONDS}
    if _for_program():
        return _json(503, {"code": "database_unavailable", "message": message}, headers)
    return _page(503, "Service Unavailable", message, headers)


def _http_error(error: HTTPException) -> Response:
    kept = {name: value for name, value in error.get_headers() if name != "Content-Type"}
    status, message = error.code or 500, error.description or error.name
    if _for_program():
        return _json(status, {"code": error.name.lower().replace(" ", "_"), "message": message}, kept)
    if isinstance(error, SecurityError):
        # Under a Host that is not trusted no address can be built, so there is no page to show.
        return Response(f"{message}\n", status, kept, mimetype="text/plain")
    return _page(status, error.name, message, kept)
