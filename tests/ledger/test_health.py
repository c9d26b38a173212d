"""Alive and ready are different questions."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from flask.testing import FlaskClient


def test_alive(client: FlaskClient) -> None:
    """A living process says so."""
    response = client.get("/healthz")
    assert (response.status_code, response.json) == (200, {"status": "ok"})


def test_alive_without_a_database(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing opens the database to find out whether the process lives."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the database was opened")

    monkeypatch.setattr(sqlite3, "connect", refuse)
    assert client.get("/healthz").status_code == 200


def test_ready(client: FlaskClient) -> None:
    """A database that answers makes the service ready."""
    response = client.get("/readyz")
    assert (response.status_code, response.json) == (200, {"status": "ok"})


def test_not_ready_without_the_table(client: FlaskClient, database: Path) -> None:
    """A database that opens but holds no runs table is not one that can serve."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP TABLE runs")
    response = client.get("/readyz")
    assert (response.status_code, response.json) == (
        503,
        {"status": "unavailable", "reason": "database: no such table: runs"},
    )


def test_not_ready_without_the_file(client: FlaskClient, database: Path) -> None:
    """A lost database is reported, and not replaced by an empty one."""
    database.unlink()
    assert client.get("/readyz").status_code == 503
    assert not database.exists()
