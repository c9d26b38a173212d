"""The database's schema, its connections, and its migrations: one at a time, and nothing of an old file lost."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy.dialects import mysql, postgresql
from werkzeug.test import TestResponse

from ledger import create_app, database, runs
from ledger.models import Base, Run, db
from ledger.settings import SettingsError, sqlite_url

SOURCE = Path(__file__).parents[2] / "src"
WORKER = """
import sys
from ledger import create_app, database
app = create_app()
print("ready", flush=True)
sys.stdin.readline()
database.migrate(app)
"""
FIRST_LEDGER = """
CREATE TABLE runs (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, project TEXT NOT NULL, outcome TEXT NOT NULL, python TEXT, target TEXT,
    started_us INTEGER NOT NULL, duration_seconds REAL NOT NULL, record TEXT NOT NULL
);
CREATE INDEX runs_by_start ON runs (started_us DESC, id DESC);
CREATE INDEX runs_by_project ON runs (project, started_us DESC, id DESC);
CREATE INDEX runs_by_result ON runs (kind, outcome, started_us DESC, id DESC);
PRAGMA user_version = 1;
"""

MakeRecord = Callable[..., dict[str, Any]]
Post = Callable[..., TestResponse]


def app_on(file: Path) -> Flask:
    """Return an application whose database is this SQLite file."""
    return create_app({"SQLALCHEMY_DATABASE_URI": sqlite_url(file)})


def pragma(app: Flask, name: str) -> object:
    """Return what SQLite says of a connection of the app's."""
    with app.app_context(), db.engine.connect() as connection:
        return connection.scalar(sa.text(f"PRAGMA {name}"))


def test_settings_of_a_connection(app: Flask) -> None:
    """Readers do not wait for a writer, writers wait for each other, and references are checked."""
    assert pragma(app, "journal_mode") == "wal"
    assert pragma(app, "busy_timeout") == 5000
    assert pragma(app, "foreign_keys") == 1


def test_migrating_again_changes_nothing(app: Flask) -> None:
    """A second deploy finds the schema as it should be."""
    before = pragma(app, "schema_version")
    assert database.migrate(app) == database.head()
    assert pragma(app, "schema_version") == before


def test_migrations_make_what_the_models_say(app: Flask) -> None:
    """Alembic finds nothing that a further migration would have to change."""
    result = app.test_cli_runner().invoke(args=["db", "check", "--directory", str(database.MIGRATIONS)])
    assert result.exit_code == 0, result.output


def test_first_ledger_is_taken_over(tmp_path: Path, make_record: MakeRecord) -> None:
    """A file from before Alembic keeps every run, as it was posted, and gains the columns that it lacks."""
    commit = {"commit": "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12", "dirty": False}
    records = [make_record(git=commit, project="größe"), make_record(python="3.13", target="test")]
    with closing(sqlite3.connect(tmp_path / "old.sqlite3")) as old:
        old.executescript(FIRST_LEDGER)
        for record in records:
            columns = [record.get(name) for name in ("id", "kind", "project", "outcome", "python", "target")]
            row = (*columns, 1795224723000000, record["duration_seconds"], json.dumps(record))
            old.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        old.commit()
    app = app_on(tmp_path / "old.sqlite3")
    database.migrate(app)
    with app.app_context():
        assert [runs.get(db.session(), record["id"]) for record in records] == records
        found = runs.find(db.session(), runs.Filters(commit=commit["commit"]))  # type: ignore[arg-type]
        assert found.records == (records[0],)


def test_newer_database_is_refused(app: Flask) -> None:
    """An older service does not write into what it does not understand."""
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SettingsError, match="revision 9999, from a newer ledger"):
        database.migrate(app)
    with pytest.raises(SettingsError, match="has revision 9999"):
        database.check(app)


def test_database_that_nobody_migrated_is_told(tmp_path: Path) -> None:
    """A start that migrates nothing says which command does."""
    sqlite3.connect(tmp_path / "empty").close()
    (tmp_path / "empty").touch()
    with pytest.raises(SettingsError, match="has no tables: run flask --app ledger ledger migrate"):
        database.check(app_on(tmp_path / "empty"))


@pytest.mark.processes
def test_several_processes_migrate_at_once(tmp_path: Path) -> None:
    """Deploys that start together on no database at all end up with one schema, and none fails."""
    file = tmp_path / "ledger.sqlite3"
    environ = {**os.environ, "PYTHONPATH": str(SOURCE), "LEDGER_DATABASE": str(file)}
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", WORKER],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    bufsize=0,
                    env=environ,
                )
            )
            for _ in range(4)
        ]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write(b"\n")
        assert [worker.wait(timeout=60) for worker in workers] == [0] * 4
    database.check(app_on(file))


def test_unusable_path_is_explained(tmp_path: Path) -> None:
    """A folder that does not exist is a mistake in the settings, and named as one."""
    with pytest.raises(SettingsError, match=r"nowhere.*set DATABASE_URL or LEDGER_DATABASE"):
        database.migrate(app_on(tmp_path / "nowhere" / "ledger.sqlite3"))


def test_file_that_is_no_database_is_explained(tmp_path: Path) -> None:
    """A file with other content is left alone."""
    file = tmp_path / "notes.txt"
    file.write_text("not a database " * 100, encoding="utf-8")
    with pytest.raises(SettingsError, match="not a database"):
        database.migrate(app_on(file))
    assert file.read_text(encoding="utf-8") == "not a database " * 100


def test_lost_file_is_not_replaced(app: Flask, database: Path) -> None:
    """A database that is gone is an error, and not an empty one."""
    database.unlink()
    with app.app_context(), pytest.raises(sa.exc.OperationalError):
        db.session.execute(sa.select(Run.id))
    assert not database.exists()


def test_a_file_that_was_put_in_its_place_is_read(app: Flask, database: Path, migrated: Path, post: Post) -> None:
    """A connection that was kept does not go on with the file that had the name before."""
    client = app.test_client()
    record: dict[str, Any] = {"schema": "dockyard.run/2", "id": "0" * 32, "kind": "lock", "project": "shop"}
    record |= {"started": "2026-11-21T01:02:03Z", "duration_seconds": 1, "outcome": "passed", "dockyard": "0.1.0"}
    assert post(record).status_code == 201
    assert client.get("/api/runs").json == {"runs": [record], "next": None}
    shutil.copy(migrated, database.with_name("restored"))
    for log in database.parent.glob("ledger.sqlite3-*"):
        log.unlink()
    database.with_name("restored").rename(database)
    assert client.get("/api/runs").json == {"runs": [], "next": None}


def test_command_says_where_the_database_is(runner: FlaskCliRunner, database: Path) -> None:
    """`flask --app ledger ledger migrate` is there for a release step."""
    result = runner.invoke(args=["ledger", "migrate"])
    assert (result.exit_code, result.output) == (0, f"{database} is at revision 0002\n")


@pytest.mark.parametrize("dialect", [postgresql.dialect(), mysql.dialect()])  # type: ignore[no-untyped-call]
def test_every_index_fits_into_an_engine(dialect: sa.Dialect) -> None:
    """MariaDB's indexes hold 3,072 bytes, of four for each letter; both engines' statements can be written."""
    for table in Base.metadata.tables.values():
        assert str(sa.schema.CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            lengths = [getattr(column.type, "length", None) or 2 for column in index.columns]
            assert sum(lengths) * 4 <= 3072


def test_no_password_is_shown() -> None:
    """A message names the database, and neither its password nor the driver."""
    url = sa.engine.make_url("postgresql+pg8000://sailor:s3cret@db.example:5432/ledger")
    assert database.shown(url) == "postgresql://sailor:***@db.example:5432/ledger"


def test_projects_are_found_by_their_newest_run(app: Flask, make_record: MakeRecord) -> None:
    """Each is named once, whoever ran last comes first, and upper case is another name."""
    with app.app_context():
        assert runs.projects(db.session(), 10) == ()
        for minute, project in enumerate(("shop", "Shop", "bakery", "shop", "größe")):
            runs.add(db.session(), make_record(project=project, started=f"2026-11-21T01:{minute:02}:00Z"))
        assert runs.projects(db.session(), 10) == ("größe", "shop", "bakery", "Shop")
        assert runs.projects(db.session(), 2) == ("größe", "shop")
