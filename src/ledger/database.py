"""The database: how it is connected to, waited for, and brought up to date by one process at a time."""

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from flask_migrate import Migrate, upgrade  # type: ignore[import-untyped]
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from ledger.models import db
from ledger.settings import SettingsError

MIGRATIONS = Path(__file__).with_name("migrations")
BUSY_SECONDS = 5
"""How long a statement waits for SQLite's one writer."""
CONNECT_SECONDS = 5
STATEMENT_SECONDS = 30
"""How long a server may be silent before a request is given up: one that vanished says nothing at all."""
WAIT_SECONDS = 60
"""How long a migration waits for a database that is still starting."""
LOCK_SECONDS = 600
LOCK_NUMBER, LOCK_NAME = 0x1ED6E5, "ledger-migrations"


def init_app(app: Flask) -> None:
    """Connect the app to its database; nothing is opened before it is used."""
    url: URL = app.config["SQLALCHEMY_DATABASE_URI"]
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(url)
    db.init_app(app)
    Migrate(app, db, directory=str(MIGRATIONS))
    if url.get_backend_name() == "sqlite":
        with app.app_context():
            event.listen(db.engine, "connect", _set_up_sqlite)
            event.listen(db.engine, "checkout", _require_same_file)


def engine_options(url: URL) -> dict[str, Any]:
    """Return what each kind of database needs: a time within which it answers, and connections that are tested."""
    if url.get_backend_name() == "sqlite":
        # mode=rw: a lost database is reported, and not replaced by an empty one.
        creator = f"file:{_escaped(str(url.database))}?mode=rw"
        return {
            "creator": lambda: sqlite3.connect(creator, uri=True, timeout=BUSY_SECONDS, check_same_thread=False),
        }
    limits = {"connect_timeout": CONNECT_SECONDS, "read_timeout": STATEMENT_SECONDS, "write_timeout": STATEMENT_SECONDS}
    if url.get_driver_name() == "pg8000":
        limits = {"timeout": STATEMENT_SECONDS}
    return {"pool_pre_ping": True, "pool_recycle": 300, "connect_args": limits}


def _escaped(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _set_up_sqlite(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    file = connection.execute("PRAGMA database_list").fetchone()[2]
    record.info["file"] = (file, _identity(file))


def _require_same_file(_connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
    """Have a connection made anew where another file has its name since, as after a restore, or none.

    To open one for each request would cost more than the request: whoever closes the last connection has SQLite move
    the whole log into the file.
    """
    file, identity = record.info["file"]
    if _identity(file) != identity:
        raise DisconnectionError(f"{file} is another file now")


def _identity(file: str) -> tuple[int, int] | None:
    try:
        found = os.stat(file)  # noqa: PTH116 - for each request, and a Path costs as much again
    except OSError:
        return None
    return found.st_dev, found.st_ino


def head() -> str:
    """Return the revision that this ledger's code expects."""
    return str(ScriptDirectory(str(MIGRATIONS)).get_current_head())


def revision(connection: Connection) -> str | None:
    """Return the revision that a database has, None where it was never migrated."""
    return MigrationContext.configure(connection).get_current_revision()


def migrate(app: Flask, wait_seconds: float = WAIT_SECONDS) -> str:
    """Bring the database of an app up to date, and return its revision.

    Waits for one that is still starting. Two at a time are safe: the second finds all done. Raises SettingsError
    where the database cannot be used, or was made by a newer ledger.
    """
    with app.app_context():
        try:
            if db.engine.dialect.name == "sqlite":
                _make_sqlite_file(Path(str(db.engine.url.database)))
            wait_until_up(db.engine, wait_seconds)
            with db.engine.connect() as connection:
                found = revision(connection)
            if found and found not in known_revisions():
                raise SettingsError(
                    f"{shown(db.engine.url)} has revision {found}, from a newer ledger: run that one, or restore a copy"
                )
            upgrade(directory=str(MIGRATIONS))
        except (OSError, SQLAlchemyError) as error:
            told = f"the database {shown(db.engine.url)} cannot be used: {reason(error)}"
            raise SettingsError(f"{told}; set DATABASE_URL or LEDGER_DATABASE") from error
        finally:
            db.engine.dispose()  # a server that forks afterwards must share no connection with its workers
        return head()


def known_revisions() -> frozenset[str]:
    """Return every revision that this ledger has a migration to."""
    return frozenset(script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions())


def check(app: Flask) -> None:
    """Raise SettingsError unless the database is there and up to date."""
    with app.app_context():
        try:
            with db.engine.connect() as connection:
                found = revision(connection)
        except SQLAlchemyError as error:
            raise SettingsError(f"the database {shown(db.engine.url)} cannot be used: {reason(error)}") from error
        finally:
            db.engine.dispose()
        if found != head():
            state = f"has revision {found}" if found else "has no tables"
            raise SettingsError(
                f"{shown(db.engine.url)} {state}: run flask --app ledger ledger migrate, then start again"
            )


def shown(url: URL) -> str:
    """Return a database's address without its password; a SQLite file as its path."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)


def reason(error: Exception) -> str:
    """Return what the driver says, without the statement, which may hold what people posted."""
    return str(error.orig) if isinstance(error, DBAPIError) else str(error)


def wait_until_up(engine: Engine, seconds: float, pause: float = 0.5) -> None:
    """Return once the database answers; raise what it said last when it does not in time."""
    until = time.monotonic() + seconds
    while True:
        try:
            with engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except DBAPIError:
            if engine.dialect.name == "sqlite" or time.monotonic() > until:
                raise
            time.sleep(pause)
        else:
            return


@contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """Yield a connection while no other process migrates the same database."""
    if engine.dialect.name == "sqlite":
        with _folder_lock(Path(str(engine.url.database)).parent), engine.connect() as connection:
            yield connection
        return
    # Without the limits of time that requests have: a change of a large table takes long, and so does waiting for it.
    patient = create_engine(engine.url, poolclass=NullPool)
    with patient.connect() as holder, patient.connect() as connection:
        # A connection of its own holds the lock: what a migration commits would end a transaction's.
        _lock(holder)
        try:
            yield connection
        finally:
            _unlock(holder)


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET lock_timeout = '{LOCK_SECONDS}s'"))
        connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": LOCK_NUMBER})
    elif not connection.scalar(text("SELECT GET_LOCK(:name, :seconds)"), {"name": LOCK_NAME, "seconds": LOCK_SECONDS}):
        raise SettingsError(f"another migration has held the database for {LOCK_SECONDS} s: look what it does")


def _unlock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_unlock(:number)"), {"number": LOCK_NUMBER})
    else:
        connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": LOCK_NAME})


def _make_sqlite_file(file: Path) -> None:
    """Make an empty database where there is none, in a mode in which readers do not wait for a writer."""
    with _folder_lock(file.parent):
        connection = sqlite3.connect(file, timeout=BUSY_SECONDS)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.Error as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder: SQLite's busy timeout does not cover the change to WAL mode.

    The folder and not the database file, since closing a second descriptor of that drops SQLite's own locks.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
