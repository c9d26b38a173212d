"""Find the login for a registry where Docker keeps it: config.json and the credential helpers it names."""

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dockyard.registry.errors import Kind, RegistryError

if TYPE_CHECKING:
    from docker.auth import AuthConfig

TOKEN_USER = "<token>"  # noqa: S105 - what stands for the user name where the password is an identity token


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


def find_login(key: str, folders: Iterable[Path], environment: Mapping[str, str]) -> Credentials | None:
    """Return the login for a registry, None where there is none; raise RegistryError for a broken config.json.

    `key` is the host with its port, or the index address that Docker files its default registry under.
    """
    for folder in folders:
        file = folder / "config.json"
        config = read_config(file, environment)
        if config is not None and (found := select_login(config, key, file)):
            return found
    return None


def read_config(file: Path, environment: Mapping[str, str]) -> "AuthConfig | None":
    """Return the logins in a config.json, None where there is none; helpers get `environment`."""
    from docker.auth import AuthConfig
    from docker.errors import DockerException

    try:
        document = json.loads(file.read_bytes() or b"{}")
        return AuthConfig.load_config(None, document, dict(environment)) if document else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError, DockerException):
        # What went wrong is not quoted: it may hold a part of a password.
        raise RegistryError(Kind.DENIED, f"the logins in {file} cannot be read", "mend it, or log in again") from None


def select_login(config: "AuthConfig", key: str, file: Path) -> Credentials | None:
    """Return the login for a registry out of the logins in a file; a helper that fails is a RegistryError."""
    from docker.errors import DockerException

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a helper that is not installed: the error below says so
            found = config.resolve_authconfig(key) or {}
    except (DockerException, ValueError, KeyError, TypeError) as error:
        helper = f"docker-credential-{config.get_credential_store(key)}"
        # A helper that answers with something else may have printed a secret; only its own complaint is passed on.
        said = str(error) if isinstance(error, DockerException) else "it did not answer with a login"
        advice = f"{file} names this helper: make {helper} work, or take it out of the file"
        raise RegistryError(Kind.DENIED, f"{helper} failed: {said}", advice) from None
    said_by_name = {name.lower(): str(value).rstrip("\0") for name, value in found.items() if value}
    username, password = said_by_name.get("username", ""), said_by_name.get("password", "")
    token = password if username == TOKEN_USER else said_by_name.get("identitytoken", "")
    if token:
        return Credentials(identity_token=token)
    return Credentials(username, password) if username else None
