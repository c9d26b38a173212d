"""Carry requests to a registry: certificates as the engine sees them, proxies, and honest network errors."""

import socket
import ssl
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import requests.adapters
import requests.utils
import urllib3.exceptions

from dockyard.registry.errors import Kind, RegistryError, hint
from dockyard.registry.login import Credentials

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG")
_DATES = {9: "is not valid yet", 10: "has expired"}
_OTHER_NAME = (62, 64)
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


@dataclass(frozen=True)
class Access:
    """How to reach a registry: `api` is where it answers, which differs from `host` for Docker's default one.

    Certificates are checked against `bundle` and `extra`, unless the registry is `insecure`; `plain` allows HTTP.
    """

    host: str
    api: str
    bundle: Path
    extra: tuple[Path, ...] = ()
    credentials: Credentials | None = None
    insecure: bool = False
    plain: bool = False

    @property
    def who(self) -> str:
        """Who we log in as, for messages."""
        if self.credentials is None:
            return "nobody"
        return self.credentials.username or "the owner of the identity token"


class Transport:
    """A session with a registry's host: what goes wrong on the way is a RegistryError."""

    def __init__(self, access: Access, adapter: requests.adapters.BaseAdapter | None = None) -> None:
        self.access = access
        self._session = requests.Session()
        # Neither ~/.netrc nor REQUESTS_CA_BUNDLE may slip in: logins and certificates are chosen by Access.
        self._session.trust_env = False
        self._session.verify = False if access.insecure else str(access.bundle)
        self._session.mount("https://", adapter or _Adapter(_context(access)))
        self._session.mount("http://", adapter or requests.adapters.HTTPAdapter())

    def close(self) -> None:
        """Close every connection."""
        self._session.close()

    def send(self, method: str, url: str, headers: Mapping[str, str], **options: Any) -> requests.Response:
        """Return the answer to one request, whatever its status."""
        local = loopback(urlsplit(url).hostname or "")
        proxies = {} if local else requests.utils.get_environ_proxies(url)
        timeout = (CONNECT_SECONDS, READ_SECONDS)
        try:
            with warnings.catch_warnings():
                # Said once in our own words, where it is decided that a registry is insecure.
                warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
                return self._session.request(
                    method, url, headers=dict(headers), proxies=proxies, timeout=timeout, **options
                )
        except requests.RequestException as error:
            raise broken(error, urlsplit(url).netloc, self.access) from None


def broken(error: requests.RequestException, address: str, access: Access) -> RegistryError:
    """Return the error that a failed exchange with `address` stands for, told by its root cause."""
    causes = list(_causes(error))
    refused = next((cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)), None)
    if refused:
        return _untrusted(refused, address, access)
    tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError) and cause.reason), None)
    if tls:
        plain = tls.reason in _NOT_TLS
        kind = Kind.PLAIN_HTTP if plain else Kind.TLS
        text = "speaks plain HTTP where HTTPS is expected" if plain else f"makes no TLS connection: {tls.reason}"
        return RegistryError(kind, f"{address} {text}", hint(kind, access.host, ""))
    kind, text = next((kind, text) for cause, kind, text in _BROKEN if any(isinstance(one, cause) for one in causes))
    return RegistryError(kind, text.format(address=address, words=_words(causes)), hint(kind, access.host, ""))


def _untrusted(cause: ssl.SSLCertVerificationError, address: str, access: Access) -> RegistryError:
    subject = f"the certificate of {address}"
    if cause.verify_code in _DATES:
        text = f"{subject} {_DATES[cause.verify_code]}"
        return RegistryError(Kind.TLS, text, "renew it, or check the clock of this machine")
    if cause.verify_code in _OTHER_NAME:
        text = f"{subject} is for another name: {cause.verify_message.rstrip('.')}"
        return RegistryError(Kind.TLS, text, "use the name that it is for, or add this one to the certificate")
    tried = ", ".join(map(str, (access.bundle, *access.extra)))
    text = f"{subject} is not from an authority known here ({cause.verify_message}; tried {tried})"
    # On loopback the engine checks no certificate: there it is enough that we know the authority.
    other = ", or name a bundle that holds it in SSL_CERT_FILE" if access.plain else ""
    return RegistryError(Kind.TLS, text, hint(Kind.TLS, access.host, "") + other)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and everything that it was made from: requests and urllib3 hide it in four places."""
    waiting, seen = [error], set[int]()
    while waiting:
        found = waiting.pop(0)
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        inner = (found.__cause__, found.__context__, getattr(found, "reason", None), *found.args)
        waiting.extend(item for item in inner if isinstance(item, BaseException))


def _words(causes: list[BaseException]) -> str:
    words = [cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror]
    return words[-1] if words else str(causes[-1])


def loopback(host: str) -> bool:
    """Tell whether a host is this machine itself, which no proxy can stand in for."""
    return host in ("localhost", "::1") or host.startswith("127.")


class _Adapter(requests.adapters.HTTPAdapter):
    """Connections with our own certificates."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        return super().proxy_manager_for(*args, ssl_context=self._context, **kwargs)


def _context(access: Access) -> ssl.SSLContext:
    """Return TLS settings that accept what the engine accepts, and nothing else."""
    if access.insecure:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context
    try:
        context = ssl.create_default_context(cafile=str(access.bundle))
        for file in access.extra:
            if file.suffix == ".crt":
                context.load_verify_locations(cafile=str(file))
            else:
                context.load_cert_chain(file, file.with_suffix(".key"))
    except OSError as error:
        named = ", ".join(map(str, (access.bundle, *access.extra)))
        text = f"the certificates for {access.host} cannot be read: {error} (in {named})"
        raise RegistryError(Kind.TLS, text, "each file must hold certificates in PEM form") from None
    # Newer Pythons demand extensions that Go, and so the engine, does not; both accept a trusted intermediate.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def extra_certificates(host: str, folders: Iterable[Path]) -> tuple[Path, ...]:
    """Return what Docker's certs.d folders hold for a registry: CAs (*.crt) and certificates of ours (*.cert)."""
    for folder in folders:
        found = sorted((*(folder / host).glob("*.crt"), *(folder / host).glob("*.cert")))
        if found:
            return tuple(found)
    return ()
