"""Answer every error in the form its reader expects: problem details under /api (RFC 9457), a small page elsewhere."""

import logging
from collections.abc import Mapping

from flask import Flask, Response, json, render_template, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException, SecurityError
from werkzeug.http import HTTP_STATUS_CODES

from ledger.models import db
from ledger.runs import FilterError

RETRY_SECONDS = "5"
PROBLEM = "application/problem+json"

logger = logging.getLogger(__name__)


class APIError(Exception):
    """A refusal: its status, a code for programs, a message for people, and what else is to be said of it."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None, **more: object
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}
        self.more = more


def init_app(app: Flask) -> None:
    """Register the handlers."""
    app.register_error_handler(APIError, _api_error)
    app.register_error_handler(FilterError, _filter_error)
    app.register_error_handler(SQLAlchemyError, _database_error)
    app.register_error_handler(HTTPException, _http_error)


def _for_program() -> bool:
    return request.path == "/api" or request.path.startswith("/api/")


def _problem(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None, **more: object
) -> Response:
    title = HTTP_STATUS_CODES.get(status, "Error")
    body = {"title": title, "status": status, "detail": message, "code": code, **more}
    return Response(json.dumps(body) + "\n", status, headers, mimetype=PROBLEM)


def _page(status: int, title: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    body = render_template("error.html", title=title, message=message)
    return Response(body, status, headers, mimetype="text/html")


def _api_error(error: APIError) -> Response:
    return _problem(error.status, error.code, error.message, error.headers, **error.more)


def _filter_error(error: FilterError) -> Response:
    if _for_program():
        return _problem(400, "invalid_filter", str(error), parameter=error.parameter)
    return _page(400, "Bad Request", str(error))


def _database_error(_error: SQLAlchemyError) -> Response:
    """Say that the database is busy, full or gone: the same request may succeed later."""
    logger.exception("the database refused a statement")
    db.session.rollback()
    message, headers = "the database cannot be used at the moment", {"Retry-After": RETRY_SECONDS}
    if _for_program():
        return _problem(503, "database_unavailable", message, headers)
    return _page(503, "Service Unavailable", message, headers)


def _http_error(error: HTTPException) -> Response:
    kept = {name: value for name, value in error.get_headers() if name != "Content-Type"}
    status, message = error.code or 500, error.description or error.name
    if _for_program():
        return _problem(status, error.name.lower().replace(" ", "_"), message, kept)
    if isinstance(error, SecurityError):
        # Under a Host that is not trusted no address can be built, so there is no page to show.
        return Response(f"{message}\n", status, kept, mimetype="text/plain")
    return _page(status, error.name, message, kept)
