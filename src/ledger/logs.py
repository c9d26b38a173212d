"""Logs for machines: one JSON object on each line, requests on stdout and everything else on stderr."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from gunicorn.glogging import Logger  # type: ignore[import-untyped]
from pythonjsonlogger.json import JsonFormatter

from ledger.request_ids import HEADER, AddRequestID

ROOT_HANDLER = "ledger-json"


class JSONFormatter(JsonFormatter):
    """Write a log record as a JSON object: time, level, logger, process, message, and what the record adds."""

    def __init__(self) -> None:
        names = {"levelname": "level", "name": "logger", "exc_info": "exception"}
        super().__init__(("levelname", "name", "process", "message"), rename_fields=names)

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Add the time first, in UTC."""
        log_data["time"] = iso(datetime.fromtimestamp(record.created, UTC))
        super().add_fields(log_data, record, message_dict)
        log_data["level"] = str(log_data["level"]).lower()


def access_entry(response: Any, environ: Mapping[str, Any], took: timedelta, now: datetime) -> dict[str, object]:
    """Describe a served request; the query string is left in, so never put a secret in one."""
    headers = {name.lower(): value for name, value in getattr(response, "headers", ())}
    return {
        "time": iso(now),
        "request_id": headers.get(HEADER.lower()),
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


def iso(moment: datetime) -> str:
    """Write a time in UTC to the millisecond, with Z."""
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
            handler.addFilter(AddRequestID())
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
