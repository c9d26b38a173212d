"""An application on an empty database of its own, a client, a command runner, and records to send."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from sqlalchemy import event
from sqlalchemy.pool import Pool
from werkzeug.test import TestResponse

from ledger import create_app
from ledger.database import migrate
from ledger.settings import sqlite_url

Record = dict[str, Any]
Post = Callable[..., TestResponse]
MakeRecord = Callable[..., Record]


@pytest.fixture(autouse=True)
def closed_connections() -> Iterator[None]:
    """Close what a test's applications leave open in their pools: Python warns of what is only forgotten."""
    opened: list[Any] = []

    def note(connection: Any, _record: object) -> None:
        opened.append(connection)

    event.listen(Pool, "connect", note)
    yield
    event.remove(Pool, "connect", note)
    for connection in opened:
        with suppress(Exception):  # closed already: each driver says so in its own way
            connection.close()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an empty database once: a copy of its file is quicker than all migrations."""
    file = tmp_path_factory.mktemp("migrated") / "ledger.sqlite3"
    migrate(create_app({"SQLALCHEMY_DATABASE_URI": sqlite_url(file)}))
    return file


@pytest.fixture
def database(migrated: Path, tmp_path: Path) -> Path:
    """Return the file of an empty database, up to date."""
    return Path(shutil.copy(migrated, tmp_path / "ledger.sqlite3"))


@pytest.fixture
def token() -> str:
    """Return the token that the application accepts."""
    return "a-token-for-tests"


@pytest.fixture
def app(database: Path, token: str) -> Flask:
    """Make an application that can be written to."""
    return create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": sqlite_url(database), "LEDGER_TOKEN": token})


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Make a client of the application."""
    return app.test_client()


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    """Make a runner of the application's commands."""
    return app.test_cli_runner()


@pytest.fixture
def make_record() -> MakeRecord:
    """Return a function that makes a minimal valid record, each with another id."""
    count = 0

    def make(**changes: Any) -> Record:
        nonlocal count
        count += 1
        return {
            "schema": "dockyard.run/2",
            "id": f"{count:032x}",
            "kind": "build",
            "project": "shop",
            "started": "2026-11-21T01:02:03Z",
            "duration_seconds": 12.5,
            "outcome": "passed",
            "dockyard": "0.1.0",
            **changes,
        }

    return make


@pytest.fixture
def post(client: FlaskClient, token: str) -> Post:
    """Return a function that posts a record, or raw bytes, with the right token."""

    def send(body: Record | bytes, content_type: str = "application/json") -> TestResponse:
        headers = {"Authorization": f"Bearer {token}"}
        if isinstance(body, bytes):
            return client.post("/api/runs", data=body, content_type=content_type, headers=headers)
        return client.post("/api/runs", json=body, headers=headers)

    return send
