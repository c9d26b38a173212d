"""Logs for machines: one JSON object on each line, requests on stdout and everything else on stderr."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from gunicorn.glogging import Logger  # type: ignore[import-untyped]

ROOT_HANDLER = "ledger-json"


class JSONFormatter(logging.Formatter):
    """Write a log record as a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback becomes one string in it."""
        entry: dict[str, object] = {
            "time": _iso(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def access_entry(response: Any, environ: Mapping[str, Any], took: timedelta, now: datetime) -> dict[str, object]:
    """Describe a served request; the query string is left in, so never put a secret in one."""
    return {
        "time": _iso(now),
        "remote": environ.get("REMOTE_ADDR"),
        "method": environ.get("REQUEST_METHOD"),
        "path": environ.get("RAW_URI"),
        "protocol": environ.get("SERVER_PROTOCOL"),
        "status": int(str(response.status).split(None, 1)[0]),
        "bytes": response.sent,
        "duration_ms": round(took / timedelta(milliseconds=1), 3),
        "referer": environ.get("HTTP_REFERER"),
        "user_agent": environ.get("HTTP_USER_AGENT"),
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JSONLogger(Logger):  # type: ignore[misc]
    """Gunicorn's logger, with JSON lines for requests, for its own messages and for the application's."""

    def setup(self, cfg: Any) -> None:
        """Let gunicorn make its handlers, then have its error log and the root logger write JSON.

        Gunicorn sets up again when its configuration is reloaded, so the root logger's handler has a name.
        """
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(JSONFormatter())
        root = logging.getLogger()
        if not any(handler.name == ROOT_HANDLER for handler in root.handlers):
            handler = logging.StreamHandler()
            handler.name = ROOT_HANDLER
            handler.setFormatter(JSONFormatter())
            root.addHandler(handler)

    def access(
        self,
        resp: Any,
        req: Any,  # noqa: ARG002 - gunicorn passes it
        environ: Mapping[str, Any],
        request_time: timedelta,
    ) -> None:
        """Log one request."""
        if self.access_log_enabled:
            entry = access_entry(resp, environ, request_time, datetime.now(UTC))
            # As an argument, since a message alone may hold percent signs.
            self.access_log.info("%s", json.dumps(entry))
