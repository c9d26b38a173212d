"""Log lines that a machine can read."""

import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from gunicorn.config import Config  # type: ignore[import-untyped]

from ledger import logs

NASTY = 'a"b\\c\n{"status": 200} %s é\x00'


@pytest.fixture
def config() -> Iterator[Config]:
    """Return a configuration that logs to the standard streams, and take away the handlers afterwards."""
    names = (None, "gunicorn.error", "gunicorn.access")
    before = {name: list(logging.getLogger(name).handlers) for name in names}
    config = Config()
    config.set("accesslog", "-")
    yield config
    for name in names:
        logging.getLogger(name).handlers[:] = before[name]


def test_access_entry() -> None:
    """A request is described by what it asked, what it got and how long that took."""
    environ = {
        "REMOTE_ADDR": "10.0.0.1",
        "REQUEST_METHOD": "GET",
        "RAW_URI": "/?kind=build",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_USER_AGENT": "curl/8",
        "HTTP_AUTHORIZATION": "Bearer secret",
    }
    response = SimpleNamespace(status="200 OK", sent=12, headers=[("X-Request-ID", "0123456789abcdef")])
    now = datetime(2026, 11, 21, 1, 2, 3, 456789, tzinfo=UTC)
    assert logs.access_entry(response, environ, timedelta(seconds=1, microseconds=234), now) == {
        "time": "2026-11-21T01:02:03.456Z",
        "request_id": "0123456789abcdef",
        "remote": "10.0.0.1",
        "method": "GET",
        "path": "/?kind=build",
        "protocol": "HTTP/1.1",
        "status": 200,
        "bytes": 12,
        "duration_ms": 1000.234,
        "referer": None,
        "user_agent": "curl/8",
    }


def test_access_line_is_one_object(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a client sends, one request is one line of valid JSON on stdout."""
    logger = logs.JSONLogger(config)
    response = SimpleNamespace(status="404 Not Found", sent=0)
    logger.access(response, None, {"RAW_URI": NASTY, "HTTP_USER_AGENT": NASTY}, timedelta(0))
    output = capsys.readouterr()
    (line,) = output.out.splitlines()
    assert json.loads(line)["user_agent"] == NASTY
    assert output.err == ""


def test_access_log_can_be_off(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an access log nothing is written."""
    config.set("accesslog", None)
    logs.JSONLogger(config).access(SimpleNamespace(status="200 OK", sent=0), None, {}, timedelta(0))
    assert capsys.readouterr().out == ""


def test_messages_are_objects_on_stderr(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """Gunicorn's messages and the application's are JSON, once each, after a reload too."""
    logger = logs.JSONLogger(config)
    logger.setup(config)
    logger.error("failed: %s", NASTY)
    logging.getLogger("ledger.database").warning("kept in %s", "/tmp")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["level"], first["logger"], first["message"]) == ("error", "gunicorn.error", f"failed: {NASTY}")
    assert (second["level"], second["message"]) == ("warning", "kept in /tmp")


def test_traceback_is_in_the_object() -> None:
    """An exception does not break the one-line rule."""
    try:
        int("reason")
    except ValueError:
        record = logging.LogRecord("name", logging.ERROR, "path", 1, "it broke", None, sys.exc_info())
    line = logs.JSONFormatter().format(record)
    assert "\n" not in line
    assert "ValueError: invalid literal" in json.loads(line)["exception"]
