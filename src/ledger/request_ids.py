"""A name for each request: in its answer, in each log line about it, and taken over from a proxy that gave one."""

import logging
import re
import secrets

from flask import Flask, Response, g, has_request_context, request

HEADER = "X-Request-ID"
GIVEN = re.compile(r"[A-Za-z0-9._-]{8,64}")
"""What is taken over; anything else could forge a line of the log."""


def init_app(app: Flask) -> None:
    """Name every request."""
    app.before_request(_name)
    app.after_request(_tell)


def _name() -> None:
    given = request.headers.get(HEADER, "")
    g.request_id = given if GIVEN.fullmatch(given) else secrets.token_hex(8)


def _tell(response: Response) -> Response:
    if "request_id" in g:
        response.headers[HEADER] = g.request_id
    return response


class AddRequestID(logging.Filter):
    """Note in a log record which request it is about."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the attribute where there is a request."""
        if has_request_context() and "request_id" in g:
            record.request_id = g.request_id
        return True
