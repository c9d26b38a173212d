"""Read the service's settings from the environment."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

# A health check inside the container asks for one of these, whatever name the world uses.
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
DRIVERS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+pg8000",
    "postgresql": "postgresql+pg8000",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
"""The driver that is installed for each kind of database, by the name that its URLs begin with."""
DATA_FOLDER = Path("/data")
FILE_NAME = "ledger.sqlite3"


class SettingsError(Exception):
    """The service cannot start as it is set up; the message says what to change."""


def load(environ: Mapping[str, str]) -> dict[str, Any]:
    """Turn environment variables into Flask configuration; an empty variable counts as unset."""
    keys = (_secret(environ, "SECRET_KEY") or "").split()
    return {
        "SQLALCHEMY_DATABASE_URI": database_url(environ),
        "LEDGER_TOKEN": _token(environ),
        "LEDGER_PROXIES": _count(environ, "LEDGER_PROXIES"),
        "SECRET_KEY": keys[0] if keys else None,
        "SECRET_KEY_FALLBACKS": keys[1:] or None,
        "TRUSTED_HOSTS": _trusted_hosts(environ.get("LEDGER_TRUSTED_HOSTS", "")),
    }


def database_url(environ: Mapping[str, str], data: Path = DATA_FOLDER) -> URL:
    """Return where the runs are kept: DATABASE_URL, the SQLite file of LEDGER_DATABASE, or a file of our own choice."""
    file, text = environ.get("LEDGER_DATABASE"), _secret(environ, "DATABASE_URL")
    if file and text:
        raise SettingsError("DATABASE_URL and LEDGER_DATABASE are both set: keep one of them")
    if not text:
        return sqlite_url(Path(file).absolute() if file else default_path(data))
    try:
        url = make_url(text)
    except ArgumentError as error:
        # The text is left out: it may hold a password.
        raise SettingsError("DATABASE_URL is no URL: write it as postgresql://user@host/name") from error
    kind = url.drivername.partition("+")[0]
    if kind not in DRIVERS:
        raise SettingsError(f"DATABASE_URL begins with {url.drivername}: use postgresql, mariadb, mysql or sqlite")
    if kind == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise SettingsError("DATABASE_URL names no file: write it as sqlite:////folder/ledger.sqlite3")
        return sqlite_url(Path(str(url.database)).absolute())
    if not url.host or not url.database:
        raise SettingsError("DATABASE_URL names no host or no database: write it as postgresql://user@host/name")
    password = _secret(environ, "DATABASE_PASSWORD")
    if password:
        url = url.set(password=password)
    if kind in ("mysql", "mariadb"):
        url = url.update_query_dict({"charset": "utf8mb4"})
    return url.set(drivername=DRIVERS[kind])


def sqlite_url(file: Path) -> URL:
    """Return the URL of a SQLite file."""
    return URL.create("sqlite", database=str(file))


def default_path(data: Path = DATA_FOLDER) -> Path:
    """Choose where the database lives when nobody said: the data volume, else a temporary folder of our own.

    It may not outlive the container there, which the start says.
    """
    if data.is_dir() and os.access(data, os.W_OK | os.X_OK):
        return data / FILE_NAME
    # A folder of our own, since anyone may plant a file under a well-known name in a shared one.
    folder = Path(tempfile.gettempdir()) / f"ledger-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise SettingsError(f"{folder} belongs to another user: set LEDGER_DATABASE")
    return folder / FILE_NAME


def _secret(environ: Mapping[str, str], name: str) -> str | None:
    """Return a variable's value, or what the file holds that NAME_FILE names; None where neither is set."""
    value, file = environ.get(name), environ.get(f"{name}_FILE")
    if value and file:
        raise SettingsError(f"{name} and {name}_FILE are both set: keep one of them, preferably the file")
    if not file:
        return value or None
    try:
        content = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name}_FILE names {file}, which cannot be read: {error}") from error
    if not content:
        raise SettingsError(f"the file named by {name}_FILE ({file}) is empty")
    return content


def _token(environ: Mapping[str, str]) -> str | None:
    """Return the write token, or None where only tokens in the database may write."""
    token = _secret(environ, "LEDGER_TOKEN")
    # A token that no Authorization header can carry would let every request fail, with no hint why.
    if token is not None and (not (token.isascii() and token.isprintable()) or " " in token):
        source = "LEDGER_TOKEN" if environ.get("LEDGER_TOKEN") else "the file named by LEDGER_TOKEN_FILE"
        raise SettingsError(f"{source} must hold one token of printable ASCII characters without spaces")
    return token


def _count(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name) or "0"
    if not text.isdecimal() or len(text) > 1:
        raise SettingsError(f"{name} must be the number of proxies in front, from 0 to 9, not {text!r}")
    return int(text)


def _trusted_hosts(value: str) -> list[str] | None:
    """Split a comma-separated list of host names; None, for an empty one, accepts any Host header."""
    hosts = [host.strip() for host in value.split(",") if host.strip()]
    return [*hosts, *LOOPBACK_HOSTS] if hosts else None
