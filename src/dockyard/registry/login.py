"""Find the login for a registry where Docker keeps it: config.json and the credential helpers it names."""

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dockyard.errors import CommandError
from dockyard.process import Command, Completed, capture
from dockyard.registry.errors import Kind, RegistryError

TOKEN_USER = "<token>"  # noqa: S105 - what helpers write for the user name when the secret is an identity token
NOT_FOUND = "credentials not found"
HELPER_SECONDS = 60.0

Run = Callable[..., Completed]


@dataclass(frozen=True)
class Credentials:
    """A login: name and password, or an identity token that buys access tokens."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    def for_engine(self, host: str) -> dict[str, str]:
        """Return the login in the form that the Engine API takes."""
        if self.identity_token:
            return {"identitytoken": self.identity_token, "serveraddress": host}
        return {"username": self.username, "password": self.password, "serveraddress": host}


def config_folders(engine: Mapping[str, str], user: Mapping[str, str]) -> tuple[Path, ...]:
    """Return where Docker's config.json may be: the folder of the engine's own CLI first, then the user's."""
    own = user.get("DOCKER_CONFIG") or str(Path(user.get("HOME", "~")).expanduser() / ".docker")
    return tuple(Path(name) for name in dict.fromkeys((engine.get("DOCKER_CONFIG"), own)) if name)


def find(
    key: str, folders: Iterable[Path], environment: Mapping[str, str | None], *, run: Run = capture
) -> Credentials | None:
    """Return the login for a registry, None where there is none; raise RegistryError for a broken config.json.

    `key` is the host with its port, or the index address that Docker files its default registry under.
    """
    for folder in folders:
        file = folder / "config.json"
        config = _read(file)
        found = _from_helper(key, file, config, environment, run) or _from_file(key, file, config)
        if found:
            return found
    return None


def _read(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes() or b"{}")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RegistryError(Kind.DENIED, f"{file} cannot be read: {error}", "mend it, or log in again") from None
    return document if isinstance(document, dict) else {}


def _from_helper(
    key: str, file: Path, config: Mapping[str, Any], environment: Mapping[str, str | None], run: Run
) -> Credentials | None:
    name = (config.get("credHelpers") or {}).get(key) or config.get("credsStore")
    if not name:
        return None
    program = f"docker-credential-{name}"
    command = Command((program, "get"), env=environment, input=key.encode(), timeout=HELPER_SECONDS)
    advice = f"{file} names this helper: make {program} work, or take it out of the file"
    try:
        done = run(command, check=False)
    except CommandError as error:
        raise RegistryError(Kind.DENIED, error.message, advice) from None
    if not done.ok:
        if NOT_FOUND in (done.stdout + done.stderr).lower():
            return None
        said = (done.stderr or done.stdout).strip().splitlines()
        raise RegistryError(Kind.DENIED, f"{program} failed: {said[-1] if said else 'it said nothing'}", advice)
    try:
        answer = json.loads(done.stdout)
        return _login(str(answer["Username"]), str(answer["Secret"]))
    except (ValueError, KeyError, TypeError):
        raise RegistryError(Kind.DENIED, f"{program} did not answer with a login", advice) from None


def _from_file(key: str, file: Path, config: Mapping[str, Any]) -> Credentials | None:
    logins = config.get("auths") or {}
    entry = logins.get(key) or next((value for name, value in logins.items() if _host(name) == _host(key)), None)
    if not isinstance(entry, dict):
        return None
    if entry.get("identitytoken"):
        return Credentials(identity_token=str(entry["identitytoken"]))
    if entry.get("username") and entry.get("password"):
        return Credentials(str(entry["username"]), str(entry["password"]))
    if not entry.get("auth"):
        return None
    try:
        username, password = base64.b64decode(entry["auth"]).decode().split(":", 1)
    except (binascii.Error, ValueError, TypeError):
        raise RegistryError(Kind.DENIED, f"{file}: the login for {key} is garbled", "log in again") from None
    return _login(username, password.rstrip("\0"))


def _login(username: str, secret: str) -> Credentials:
    return Credentials(identity_token=secret) if username == TOKEN_USER else Credentials(username, secret)


def _host(name: str) -> str:
    """Return the host of an entry: old versions of Docker wrote whole URLs."""
    return name.removeprefix("https://").removeprefix("http://").split("/", 1)[0]
