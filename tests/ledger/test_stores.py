"""The same behaviour on every database: SQLite always, and those servers that the environment names.

LEDGER_TEST_POSTGRESQL and LEDGER_TEST_MARIADB are URLs of databases that the tests may empty; the integration tests
start both and set them.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.engine import URL

from ledger import backups, create_app, database, runs
from ledger.models import Run, Token, db
from ledger.settings import database_url, sqlite_url

pytestmark = pytest.mark.processes

MakeRecord = Callable[..., dict[str, Any]]

SOURCE = Path(__file__).parents[2] / "src"
SERVERS = {name: os.environ.get(f"LEDGER_TEST_{name.upper()}") for name in ("postgresql", "mariadb")}
TOKEN = "a-token-for-tests"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
MIGRATE = "import ledger, ledger.database; print(ledger.database.migrate(ledger.create_app()))"


@pytest.fixture(
    scope="module",
    params=["sqlite", *(pytest.param(name, marks=pytest.mark.integration) for name, url in SERVERS.items() if url)],
)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> URL:
    """Return where an empty database is; its tables were made by two migrations at once."""
    name: str = request.param
    text = SERVERS.get(name)
    url = database_url({"DATABASE_URL": text or f"sqlite:///{tmp_path_factory.mktemp('store') / 'ledger.sqlite3'}"})
    if text:
        with create_app({"SQLALCHEMY_DATABASE_URI": url}).app_context():
            db.drop_all()
            with db.engine.begin() as connection:
                connection.execute(sa.text("DROP TABLE IF EXISTS alembic_version"))
            db.engine.dispose()
    return url


@pytest.fixture(scope="module")
def migrated(url: URL) -> URL:
    """Have the tables made, by several processes at once: each ends well, and they are made once."""
    environ = {
        **os.environ,
        "PYTHONPATH": str(SOURCE),
        "DATABASE_URL": url.set(drivername=url.get_backend_name()).render_as_string(hide_password=False),
    }
    with ExitStack() as stack:
        commands = [
            stack.enter_context(
                subprocess.Popen((sys.executable, "-c", MIGRATE), env=environ, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(3)
        ]
        said = [each.communicate(timeout=120)[0].strip() for each in commands]
    assert said == [database.head()] * 3
    return url


@pytest.fixture
def app(migrated: URL) -> Iterator[Flask]:
    """Make an application on the empty tables."""
    app = create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": migrated, "LEDGER_TOKEN": TOKEN})
    with app.app_context():
        for table in (Run, Token):
            db.session.execute(sa.delete(table))
        db.session.commit()
    yield app
    with app.app_context():
        db.engine.dispose()


def post(client: FlaskClient, record: dict[str, Any]) -> int:
    """Post a record and return the status."""
    return client.post("/api/runs", json=record, headers=HEADERS).status_code


def listed(client: FlaskClient, query: dict[str, str]) -> list[dict[str, Any]]:
    """Return all that a list has, page after page."""
    found: list[dict[str, Any]] = []
    address: str | None = "/api/runs"
    while address:
        answer = client.get(address, query_string=query if address == "/api/runs" else None)
        assert answer.status_code == 200, answer.text
        assert answer.json
        found += answer.json["runs"]
        address = answer.json["next"]
    return found


def test_the_tables_are_those_of_the_models(app: Flask) -> None:
    """Alembic finds nothing that a further migration would have to change."""
    result = app.test_cli_runner().invoke(args=["db", "check", "--directory", str(database.MIGRATIONS)])
    assert result.exit_code == 0, result.output


def test_a_migration_waits_for_another_however_long(app: Flask, url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that a request may take is no limit for whoever waits for the lock."""
    monkeypatch.setattr(database, "STATEMENT_SECONDS", 1)
    second = create_app({"SQLALCHEMY_DATABASE_URI": url})
    with ThreadPoolExecutor() as pool:
        with app.app_context(), database.migrating(db.engine):
            waiting = pool.submit(database.migrate, second)
            time.sleep(2.5)
            assert not waiting.done()
        assert waiting.result() == database.head()
    with second.app_context():
        db.engine.dispose()


def test_a_run_is_kept_as_it_came(client: FlaskClient, make_record: MakeRecord) -> None:
    """New, known and in conflict, with every character that JSON can hold but one."""
    record = make_record(
        project="Größe 🚢 'x' \\ % _", target="a\tb\u2028", duration_seconds=0.1, started="0001-01-01T00:00:00.000001Z"
    )
    assert [post(client, record), post(client, record), post(client, {**record, "outcome": "failed"})] == [
        201,
        200,
        409,
    ]
    assert client.get(f"/api/runs/{record['id']}").json == record
    assert client.get("/readyz").status_code == 200
    assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"project": "x" * 70_000},
        {"target": "🚢" * 300},
        {"python": f"3.{'1' * 300}"},
        {"started": "9999-12-31T23:59:59.999999999Z", "duration_seconds": 1.7e308},
        {"duration_seconds": 2**53 - 1},
    ],
    ids=["long name", "wide name", "long version", "last moment", "longest time"],
)
def test_extremes_are_kept(client: FlaskClient, make_record: MakeRecord, changes: dict[str, Any]) -> None:
    """What the schema allows can be stored, shown in a list, and found by its own value."""
    record = make_record(**changes)
    assert post(client, record) == 201
    assert client.get(f"/api/runs/{record['id']}").json == record
    assert listed(client, {name: changes[name] for name in ("python",) if name in changes}) == [record]
    with client.application.app_context():
        matching = runs.Filters(project=changes.get("project"), target=changes.get("target"))
        assert runs.find(db.session(), matching).records == (record,)


def test_a_character_that_not_every_database_keeps(client: FlaskClient, make_record: MakeRecord) -> None:
    """NUL is in the record and not in the columns, so that every database can take over what another one has."""
    record = make_record(project="a\0b", target="\0", dockyard="\0")
    assert post(client, record) == 201
    assert listed(client, {"project": "ab"}) == [record]
    assert listed(client, {"project": "a\0b"}) == [record]
    assert listed(client, {"project": "\0"}) == []


def test_filters_and_pages(client: FlaskClient, make_record: MakeRecord) -> None:
    """Every run once, newest first, by exactly the name that was asked for."""
    git: dict[str, Any] = {"commit": "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12", "dirty": False}
    names = ("shop", "Shop", "shöp", "shop")
    made = [
        make_record(project=name, git=git, started=f"2026-11-2{1 + n % 2}T01:02:03Z") for n, name in enumerate(names)
    ]
    for record in made:
        assert post(client, record) == 201
    newest_first = [made[3], made[1], made[2], made[0]]
    assert listed(client, {"limit": "1"}) == newest_first
    assert listed(client, {"project": "shop", "limit": "1"}) == [made[3], made[0]]
    assert listed(client, {"project": "SHOP"}) == []
    assert listed(client, {"commit": git["commit"], "project": "Shop"}) == [made[1]]
    assert client.get(f"/api/runs?before={'f' * 32}").status_code == 400
    with client.application.app_context():
        assert set(runs.projects(db.session(), 10)) == {"shop", "Shop", "shöp"}
        assert len(runs.projects(db.session(), 2)) == 2


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ({}, "runs_by_start"),
        ({"project": "shop"}, "runs_by_project"),
        ({"project": "shop", "kind": "test", "python": "3.13"}, "runs_by_kind"),
        ({"kind": "test", "outcome": "failed"}, "runs_by_result"),
        ({"commit": "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12"}, "runs_by_commit"),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value) or "all",
)
def test_no_list_reads_every_run(app: Flask, query: dict[str, str], index: str) -> None:
    """What pages ask has an index in the order of the list, so that its time does not grow with the runs."""
    with app.app_context():
        if db.engine.dialect.name == "postgresql":
            db.session.execute(sa.text("SET LOCAL enable_seqscan = off"))
            db.session.execute(sa.text("SET LOCAL enable_bitmapscan = off"))
        statement = runs.query_runs(runs.Filters.parse(query)).compile(
            db.engine, compile_kwargs={"literal_binds": True}
        )
        explain = "EXPLAIN QUERY PLAN" if db.engine.dialect.name == "sqlite" else "EXPLAIN"
        plan = str(db.session.execute(sa.text(f"{explain} {statement}")).all())
        assert index in plan
        assert not re.search("sort|temp b-tree", plan, re.IGNORECASE), plan


def test_commands_for_tokens_and_old_runs(app: Flask, client: FlaskClient, make_record: MakeRecord) -> None:
    """A token is made, removes a run, is revoked; old runs go, and a release stays."""
    run = app.test_cli_runner().invoke
    token = run(args=["ledger", "token", "add", "ci", "--scope", "runs:delete", "--expires", "1d"]).output.strip()
    made = [make_record(), make_record(kind="release"), make_record()]
    for record in made:
        post(client, record)
    headers = {"Authorization": f"Bearer {token}"}
    assert client.delete(f"/api/runs/{made[0]['id']}", headers=headers).status_code == 204
    assert run(args=["ledger", "token", "revoke", "ci"]).exit_code == 0
    assert client.delete(f"/api/runs/{made[1]['id']}", headers=headers).status_code == 401
    assert run(args=["ledger", "prune", "--keep", "1h"]).output.startswith("1 runs from before")
    assert listed(client, {}) == [made[1]]


def test_a_backup_goes_to_another_engine_and_back(
    app: Flask, client: FlaskClient, make_record: MakeRecord, tmp_path: Path
) -> None:
    """Restored into SQLite, backed up there and restored here, the runs and tokens are the same to the last byte."""
    for number in range(backups.AT_A_TIME + 2):
        record = make_record(project=f"größe {number} 🚢")
        with app.app_context():
            db.session.add(runs.run_of(record))
            db.session.commit()
    run = app.test_cli_runner().invoke
    run(args=["ledger", "token", "add", "ci"])
    first, second = tmp_path / "first.gz", tmp_path / "second.gz"
    assert run(args=["ledger", "backup", str(first)]).exit_code == 0
    other = create_app({"SQLALCHEMY_DATABASE_URI": sqlite_url(tmp_path / "other.sqlite3")})
    database.migrate(other)
    away = other.test_cli_runner().invoke
    assert away(args=["ledger", "restore", str(first)]).output.startswith(f"{backups.AT_A_TIME + 2} runs restored")
    assert away(args=["ledger", "backup", str(second)]).exit_code == 0
    assert second.read_bytes() == first.read_bytes()
    with app.app_context():
        for table in (Run, Token):
            db.session.execute(sa.delete(table))
        db.session.commit()
    assert run(args=["ledger", "restore", str(second)]).exit_code == 0
    assert run(args=["ledger", "backup", str(first)]).exit_code == 0
    assert second.read_bytes() == first.read_bytes()
