"""Open the SQLite database, and bring its schema up to date when the service starts."""

import fcntl
import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click
from flask import Flask, current_app, g
from flask.cli import with_appcontext

from ledger.settings import SettingsError

DATA_FOLDER = Path("/data")
FILE_NAME = "ledger.sqlite3"
BUSY_SECONDS = 5.0

# Entry n takes a database from version n to n + 1. Append to it; never edit an entry that was released.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE runs (
            id TEXT PRIMARY KEY,
            kind TEXT NOT NULL,
            project TEXT NOT NULL,
            outcome TEXT NOT NULL,
            python TEXT,
            target TEXT,
            started_us INTEGER NOT NULL,
            duration_seconds REAL NOT NULL,
            record TEXT NOT NULL
        )
        """,
        "CREATE INDEX runs_by_start ON runs (started_us DESC, id DESC)",
        "CREATE INDEX runs_by_project ON runs (project, started_us DESC, id DESC)",
        "CREATE INDEX runs_by_result ON runs (kind, outcome, started_us DESC, id DESC)",
    ),
)

logger = logging.getLogger(__name__)


def init_app(app: Flask) -> None:
    """Prepare the database and close each request's connection when the request ends."""
    app.config["LEDGER_DATABASE"] = prepare(app.config["LEDGER_DATABASE"])
    app.teardown_appcontext(close_db)
    app.cli.add_command(database_command)


def prepare(configured: Path | None) -> Path:
    """Return the database's absolute path, its schema current; raises SettingsError when that cannot be."""
    path = configured.absolute() if configured else default_path()
    try:
        migrate(path)
    except (OSError, sqlite3.Error) as error:
        raise SettingsError(f"the database {path} cannot be used: {error}; set LEDGER_DATABASE") from error
    return path


def default_path(data: Path = DATA_FOLDER) -> Path:
    """Choose where the database lives when nobody said: the data volume, else temporary storage."""
    if data.is_dir() and os.access(data, os.W_OK | os.X_OK):
        return data / FILE_NAME
    # A folder of our own, since anyone may plant a file under a well-known name in a shared one.
    folder = Path(tempfile.gettempdir()) / f"ledger-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise SettingsError(f"{folder} belongs to another user: set LEDGER_DATABASE")
    logger.warning("%s is not writable: runs are kept in %s and may not outlive the container", data, folder)
    return folder / FILE_NAME


def connect(path: Path, *, create: bool = False) -> sqlite3.Connection:
    """Open a connection in autocommit mode; the file must exist unless `create` is true."""
    uri = f"{path.as_uri()}?mode={'rwc' if create else 'rw'}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def migrate(path: Path) -> int:
    """Apply the migrations that the database lacks, and return its version."""
    with _one_at_a_time(path.parent), closing(connect(path, create=True)) as connection:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise SettingsError(f"{path} has version {version}, from a newer ledger: run that one, or restore a copy")
        connection.execute("PRAGMA journal_mode = WAL")
        for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
            _apply(connection, number, statements)
    return len(MIGRATIONS)


def _apply(connection: sqlite3.Connection, number: int, statements: tuple[str, ...]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in statements:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {number:d}")
    connection.execute("COMMIT")


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder: SQLite's busy timeout does not cover the change to WAL mode.

    The folder and not the database file, since closing a second descriptor of that drops SQLite's own locks.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def get_db() -> sqlite3.Connection:
    """Return this request's connection, opened at its first use."""
    if "db" not in g:
        g.db = connect(current_app.config["LEDGER_DATABASE"])
    connection: sqlite3.Connection = g.db
    return connection


def close_db(_error: BaseException | None = None) -> None:
    """Close this request's connection, if it opened one."""
    connection: sqlite3.Connection | None = g.pop("db", None)
    if connection is not None:
        connection.close()


@click.command("database")
@with_appcontext
def database_command() -> None:
    """Bring the database up to date, and say where it is."""
    path: Path = current_app.config["LEDGER_DATABASE"]
    click.echo(f"{path} is at version {migrate(path)}")
