"""How a registry is reached: by the engine's rules, with the engine's or the user's login and certificates.

Logins are found where Docker keeps them: config.json and the credential helpers that it names. Certificates are those
that the engine sees; what goes wrong on the way is told by its root cause.
"""

import contextlib
import ipaddress
import json
import logging
import os
import socket
import ssl
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
import requests.adapters
import requests.utils
import urllib3.exceptions

from dockyard.errors import list_causes, name_cause
from dockyard.host import ca_bundle
from dockyard.registry.errors import HINTS, Kind, RegistryError

if TYPE_CHECKING:
    from docker.auth import AuthConfig

    from dockyard.engine.client import Engine

log = logging.getLogger(__name__)

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

    `key` is the host with its port, or the index address that Docker files its default registry under. Helpers that
    a config.json names get `environment`.
    """
    from docker.auth import AuthConfig
    from docker.errors import DockerException

    for file in (folder / "config.json" for folder in folders):
        try:
            document = json.loads(file.read_bytes() or b"{}")
            config = AuthConfig.load_config(None, document, dict(environment)) if document else None
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, AttributeError, DockerException):
            # What went wrong is not quoted: it may hold a part of a password.
            text = f"the logins in {file} cannot be read"
            raise RegistryError(Kind.DENIED, text, "mend it, or log in again") from None
        if config is not None and (found := select_login(config, key, file)):
            return found
    return None


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


@dataclass(frozen=True)
class Access:
    """How to reach a registry: `api` is where it answers, which differs from `host` for Docker's default one.

    `key` is what its login is filed under. Certificates are checked against `bundle` and `extra`, unless the registry
    is `insecure`; `plain` allows HTTP.
    """

    host: str
    api: str
    bundle: Path = Path(requests.utils.DEFAULT_CA_BUNDLE_PATH)
    extra: tuple[Path, ...] = ()
    credentials: Credentials | None = None
    insecure: bool = False
    plain: bool = False
    key: str = ""

    @property
    def who(self) -> str:
        """Who we log in as, for messages."""
        if self.credentials is None:
            return "nobody"
        return self.credentials.username or "the owner of the identity token"

    def error(self, kind: Kind, message: str, repository: str = "", wait: float = 0.0) -> RegistryError:
        """Return an error of this registry, with what a person can do about it."""
        hint = HINTS.get(kind, "").format(host=self.host, repository=repository)
        return RegistryError(kind, message, hint, wait=wait)


def select_rules(info: Mapping[str, Any], host: str, resolve: Callable[[str], Sequence[str]]) -> Access:
    """Return how an engine treats a registry, from the engine's own description of itself; no login yet (pure).

    Engines hold loopback for insecure without being told. Plain HTTP is allowed there, as it is common for
    a registry on trial; a certificate that is shown is checked all the same.
    """
    config = info.get("RegistryConfig") or {}
    indexes = config.get("IndexConfigs") or {}
    index = indexes.get(host) or {}
    if index.get("Official") or not host:
        address = str(info.get("IndexServerAddress") or "")
        api = urlsplit(address).netloc
        return Access(host or api, api, key=address)
    if index and not index.get("Secure", True):
        return Access(host, host, insecure=True, plain=True, key=host)
    networks = [ipaddress.ip_network(text) for text in config.get("InsecureRegistryCIDRs") or ()]
    addresses = [ipaddress.ip_address(text) for text in resolve(urlsplit(f"//{host}").hostname or "")]
    matching = [network for network in networks if any(address in network for address in addresses)]
    insecure = any(not network.is_loopback for network in matching)
    return Access(host, host, insecure=insecure, plain=bool(matching), key=host)


def resolve_host(name: str) -> tuple[str, ...]:
    """Return the addresses of a host, none where it has none."""
    with contextlib.suppress(OSError):
        return tuple({str(found[4][0]).partition("%")[0] for found in socket.getaddrinfo(name, None)})
    return ()


def extra_certificates(host: str, folders: Iterable[Path]) -> tuple[Path, ...]:
    """Return what Docker's certs.d folders hold for a registry: CAs (*.crt) and certificates of ours (*.cert)."""
    for folder in folders:
        found = sorted((*(folder / host).glob("*.crt"), *(folder / host).glob("*.cert")))
        if found:
            return tuple(found)
    return ()


def find_access(engine: "Engine", info: Mapping[str, Any], host: str) -> Access:
    """Return how to reach a registry, as an engine that describes itself with `info` would reach it."""
    environment: dict[str, str] = {**os.environ, **engine.environment}
    known = select_rules(info, host, resolve_host)
    home = Path(environment.get("HOME", "~")).expanduser()
    bundle = ca_bundle(environment) or known.bundle
    extra = extra_certificates(host, (Path("/etc/docker/certs.d"), home / ".config/docker/certs.d"))
    login = find_login(known.key, config_folders(engine.environment, os.environ), engine.environment)
    if known.insecure:
        log.info(f"{host} is among the engine's insecure registries: its certificate is not checked")
    return replace(known, bundle=bundle, extra=extra, credentials=login)


CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG")
_RENEW = "renew it, or check the clock of this machine"
_RENAME = "use the name that it is for, or add this one to the certificate"
_CURES = {9: _RENEW, 10: _RENEW, 62: _RENAME, 64: _RENAME}
"""What to do about a certificate, by OpenSSL's number for what is wrong with it; others lack an authority."""
_BROKEN: tuple[tuple[type[BaseException], Kind, str], ...] = (
    (requests.exceptions.ProxyError, Kind.UNREACHABLE, "the proxy on the way to {address} cannot be used: {words}"),
    (socket.gaierror, Kind.UNREACHABLE, "{address} cannot be found: {words}"),
    (ConnectionRefusedError, Kind.UNREACHABLE, "{address} cannot be reached: nothing listens there"),
    (requests.ConnectTimeout, Kind.UNREACHABLE, f"{{address}} did not answer within {CONNECT_SECONDS:g} s"),
    (urllib3.exceptions.NewConnectionError, Kind.UNREACHABLE, "{address} cannot be reached: {words}"),
    (requests.Timeout, Kind.DROPPED, f"{{address}} fell silent for {READ_SECONDS:g} s"),
    (Exception, Kind.DROPPED, "{address} closed the connection: {words}"),
)
"""Root causes, the most telling first; an exception from requests carries them inside."""


def broken(error: requests.RequestException, address: str, access: Access) -> RegistryError:
    """Return the error that a failed exchange with `address` stands for, told by its root cause."""
    causes = list_causes(error)
    refused = next((cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)), None)
    if refused:
        return _untrusted(refused, address, access)
    tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError) and cause.reason), None)
    if tls:
        if tls.reason in _NOT_TLS:
            return access.error(Kind.PLAIN_HTTP, f"{address} speaks plain HTTP where HTTPS is expected")
        return access.error(Kind.TLS, f"{address} makes no TLS connection: {tls.reason}")
    kind, text = next((kind, text) for cause, kind, text in _BROKEN if any(isinstance(one, cause) for one in causes))
    return access.error(kind, text.format(address=address, words=name_cause(causes)))


def _untrusted(cause: ssl.SSLCertVerificationError, address: str, access: Access) -> RegistryError:
    tried = ", ".join(map(str, (access.bundle, *access.extra)))
    text = f"the certificate of {address} is not trusted: {cause.verify_message.rstrip('.')} (tried {tried})"
    error = access.error(Kind.TLS, text)
    if access.plain:  # on loopback the engine checks no certificate: there it is enough that we know the authority
        error.hint += ", or name a bundle that holds it in SSL_CERT_FILE"
    error.hint = _CURES.get(cause.verify_code, error.hint)
    return error


def loopback(host: str) -> bool:
    """Tell whether a host is this machine itself, which no proxy can stand in for."""
    return host in ("localhost", "::1") or host.startswith("127.")
