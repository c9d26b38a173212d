"""The database's place, its schema and its connections."""

import logging
import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from ledger import create_app, database
from ledger.settings import SettingsError

SOURCE = Path(__file__).parents[2] / "src"
WORKER = """
import pathlib, sys
from ledger.database import migrate
print("ready", flush=True)
sys.stdin.readline()
migrate(pathlib.Path(sys.argv[1]))
"""


def _pragma(path: Path, name: str) -> object:
    with closing(database.connect(path)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_settings_of_a_connection(app: Flask) -> None:
    """Readers do not wait for a writer, writers wait for each other, and references are checked."""
    path = app.config["LEDGER_DATABASE"]
    assert _pragma(path, "journal_mode") == "wal"
    assert _pragma(path, "busy_timeout") == 5000
    assert _pragma(path, "foreign_keys") == 1
    assert _pragma(path, "user_version") == len(database.MIGRATIONS)


def test_connection_is_closed_with_the_request(app: Flask) -> None:
    """One request shares one connection, which does not outlive it."""
    with app.app_context():
        connection = database.get_db()
        assert database.get_db() is connection
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


def test_migrating_again_changes_nothing(app: Flask) -> None:
    """A second start finds the schema as it should be."""
    path = app.config["LEDGER_DATABASE"]
    before = _pragma(path, "schema_version")
    create_app({"LEDGER_DATABASE": path})
    assert _pragma(path, "schema_version") == before


def test_only_new_migrations_are_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older database keeps its rows and gains what it lacks."""
    path = tmp_path / "db"
    monkeypatch.setattr(database, "MIGRATIONS", (("CREATE TABLE one (x)", "INSERT INTO one VALUES (7)"),))
    database.migrate(path)
    monkeypatch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, ("ALTER TABLE one ADD COLUMN y",)))
    assert database.migrate(path) == 2
    with closing(database.connect(path)) as connection:
        assert tuple(connection.execute("SELECT x, y FROM one").fetchone()) == (7, None)


def test_failed_migration_leaves_the_old_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration is applied whole or not at all."""
    path = tmp_path / "db"
    monkeypatch.setattr(database, "MIGRATIONS", (("CREATE TABLE one (x)", "nonsense"),))
    with pytest.raises(sqlite3.OperationalError):
        database.migrate(path)
    assert _pragma(path, "user_version") == 0
    with closing(database.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []


def test_newer_database_is_refused(app: Flask) -> None:
    """An older service does not write into what it does not understand."""
    path = app.config["LEDGER_DATABASE"]
    with closing(database.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(SettingsError, match="version 99, from a newer ledger"):
        create_app({"LEDGER_DATABASE": path})


@pytest.mark.processes
def test_several_processes_start_at_once(tmp_path: Path) -> None:
    """Workers that start together on no database at all end up with one schema, and none fails."""
    path = tmp_path / "ledger.sqlite3"
    environ = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", WORKER, str(path)]
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environ)
            )
            for _ in range(8)
        ]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write(b"\n")
        assert [worker.wait(timeout=60) for worker in workers] == [0] * 8
    assert _pragma(path, "user_version") == len(database.MIGRATIONS)


def test_unusable_path_is_explained(tmp_path: Path) -> None:
    """A folder that does not exist is a mistake in the settings, and named as one."""
    with pytest.raises(SettingsError, match=r"nowhere.*set LEDGER_DATABASE"):
        create_app({"LEDGER_DATABASE": tmp_path / "nowhere" / "ledger.sqlite3"})


def test_file_that_is_no_database_is_explained(tmp_path: Path) -> None:
    """A file with other content is left alone."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database " * 100, encoding="utf-8")
    with pytest.raises(SettingsError, match="not a database"):
        create_app({"LEDGER_DATABASE": path})


def test_default_is_the_data_volume(tmp_path: Path) -> None:
    """A writable data folder is where the runs are kept."""
    assert database.default_path(tmp_path) == tmp_path / "ledger.sqlite3"


def test_default_without_a_data_volume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a private temporary folder holds them, and the log says so once."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        path = database.default_path(tmp_path / "data")
    assert path == tmp_path / f"ledger-{os.getuid()}" / "ledger.sqlite3"
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [record.message for record in caplog.records] == [
        f"{tmp_path / 'data'} is not writable: runs are kept in {path.parent} and may not outlive the container"
    ]


def test_planted_temporary_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link under the folder's name could lead anywhere."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"ledger-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="belongs to another user"):
        database.default_path(tmp_path / "data")


def test_command_says_where_the_database_is(app: Flask, runner: FlaskCliRunner) -> None:
    """`flask --app ledger database` is there for a release step."""
    result = runner.invoke(args=["database"])
    assert result.exit_code == 0
    assert result.output == f"{app.config['LEDGER_DATABASE']} is at version {len(database.MIGRATIONS)}\n"
