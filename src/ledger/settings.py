"""Read the service's settings from the environment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A health check inside the container asks for one of these, whatever name the world uses.
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")


class SettingsError(Exception):
    """The service cannot start as it is set up; the message says what to change."""


def load(environ: Mapping[str, str]) -> dict[str, Any]:
    """Turn environment variables into Flask configuration; an empty variable counts as unset."""
    database = environ.get("LEDGER_DATABASE")
    return {
        "LEDGER_DATABASE": Path(database) if database else None,
        "LEDGER_TOKEN": _token(environ),
        "TRUSTED_HOSTS": _trusted_hosts(environ.get("LEDGER_TRUSTED_HOSTS", "")),
    }


def _token(environ: Mapping[str, str]) -> str | None:
    """Return the write token, or None when writing is to stay off."""
    token, file = environ.get("LEDGER_TOKEN"), environ.get("LEDGER_TOKEN_FILE")
    if token and file:
        raise SettingsError("LEDGER_TOKEN and LEDGER_TOKEN_FILE are both set: keep one of them, preferably the file")
    if file:
        return _checked(_read(Path(file)), f"the file named by LEDGER_TOKEN_FILE ({file})")
    return _checked(token, "LEDGER_TOKEN") if token else None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"LEDGER_TOKEN_FILE names {file}, which cannot be read: {error}") from error


def _checked(token: str, source: str) -> str:
    """Refuse a token that no Authorization header could carry: every request would fail, with no hint why."""
    if not token:
        raise SettingsError(f"{source} is empty: put a token in it, or unset the variable to turn writing off")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise SettingsError(f"{source} must hold one token of printable ASCII characters without spaces")
    return token


def _trusted_hosts(value: str) -> list[str] | None:
    """Split a comma-separated list of host names; None, for an empty one, accepts any Host header."""
    hosts = [host.strip() for host in value.split(",") if host.strip()]
    return [*hosts, *LOOPBACK_HOSTS] if hosts else None
