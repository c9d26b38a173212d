"""What the last lines of a failing service give away, and the edit that mends it."""

import pytest

from dockyard.errors import read_signs
from dockyard.stack.compose import LESSONS


@pytest.mark.parametrize(
    ("line", "cause", "where"),
    [
        ("KeyError: 'SECRET_KEY'", "SECRET_KEY is not set", ".env"),
        ("decouple.UndefinedValueError: API_KEY not found. Declare it", "API_KEY is not set", ".env"),
        ('environs.EnvError: Environment variable "TOKEN" not set', "TOKEN is not set", ".env"),
        (
            "1 validation error for Settings\nsecret_key\n  Field required [type=missing]",
            "secret_key is not set",
            ".env",
        ),
        ("ModuleNotFoundError: No module named 'redis'", "no module redis", "requirements/production.in"),
        ('{"error": "No module named \\\'redis.client\\\'"}', "no module", "requirements/production.in"),
        ("sqlite3.OperationalError: no such table: note", "no table note", "Procfile"),
        ('psycopg.errors.UndefinedTable: relation "guest" does not exist', "no table guest", "Procfile"),
        ("(1146, \"Table 'app.visit' doesn't exist\")", "no table app.visit", "Procfile"),
        ("ImportError: libmagic.so.1: cannot open shared object file: No such file", "libmagic.so.1", "--apt PACKAGE"),
        ("OSError: [Errno 30] Read-only file system: '/app/uploads'", "write /app/uploads", "--writable"),
        ("PermissionError: [Errno 13] Permission denied: '/data/x'", "write /data/x", "--writable"),
        ("sqlite3.OperationalError: unable to open database file", "open its SQLite database", "--writable"),
        ("urllib.error.HTTPError: HTTP Error 500: INTERNAL", "is answered with 500", "--health PATH"),
        ("Invalid HTTP_HOST header: 'shop.test'. You may need", "host name shop.test", "ALLOWED_HOSTS"),
        ("SecurityError: Host 'localhost:8000' is not trusted.", "host name localhost", "TRUSTED_HOSTS"),
        ("Failed to find attribute 'app' in 'shop.web'.", "shop.web has no app", "--app"),
        ('Error loading ASGI app. Attribute "app" not found in module "shop".', "shop has no app", "--app"),
    ],
)
def test_lessons(line: str, cause: str, where: str) -> None:
    """Each names the cause, and the file to edit."""
    lesson = read_signs(LESSONS, f"Traceback (most recent call last):\n{line}")
    assert lesson
    assert cause in lesson.message
    assert where in lesson.hint


def test_what_tells_nothing() -> None:
    """No cause is invented."""
    assert read_signs(LESSONS, "Listening at: http://0.0.0.0:8000\nKeyError: 'name'") is None
