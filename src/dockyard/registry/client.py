"""Talk to a container registry through its HTTP API: references, logins, patience, and errors in words."""

import base64
import contextlib
import http.client
import logging
import random
import re
import ssl
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.utils import get_environ_proxies, parse_dict_header
from urllib3.exceptions import InsecureRequestWarning, InvalidHeader

from dockyard import console
from dockyard.bases.lookup import DIGEST
from dockyard.errors import UsageError
from dockyard.image.names import TAG
from dockyard.registry.access import CONNECT_SECONDS, READ_SECONDS, Access, Credentials, broken, loopback
from dockyard.registry.errors import Kind, RegistryError, classify, spoken, wanted_pause

log = logging.getLogger(__name__)

T = TypeVar("T")
ATTEMPTS = 4
PAUSE = 1.0
"""Seconds, at most, before the second attempt; each further pause is twice as long."""
PATIENCE = 120.0
"""Seconds beyond which a registry's wish to be left alone ends the push instead of delaying it."""
MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")


@dataclass(frozen=True)
class Reference:
    """An image's name: `host` is empty where the name leaves it to Docker's default registry."""

    host: str
    repository: str
    tag: str = "latest"
    digest: str = ""

    @property
    def name(self) -> str:
        """The name without its tag or digest."""
        return f"{self.host}/{self.repository}" if self.host else self.repository

    @property
    def wanted(self) -> str:
        """What to ask a registry for: the digest, or else the tag."""
        return self.digest or self.tag

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag}"


def parse_reference(text: str) -> Reference:
    """Return the parts of `[host[:port]/]repository[:tag][@digest]`; raise UsageError for anything else."""
    named, at, digest = text.partition("@")
    name, _, tag = named.rpartition(":") if ":" in named.rsplit("/", 1)[-1] else (named, "", "latest")
    first, _, rest = name.partition("/")
    is_host = bool(rest) and ("." in first or ":" in first or first == "localhost")
    host, repository = (first, rest) if is_host else ("", name)
    if not _REPOSITORY.fullmatch(repository) or not TAG.fullmatch(tag) or (at and not DIGEST.fullmatch(digest)):
        form = "write host:port/repository:tag in lower case; a digest is sha256: and 64 hexadecimal digits"
        raise UsageError(f"{text!r} is not an image reference", form)
    return Reference(host, repository, tag, digest)


@dataclass(frozen=True)
class RegistryRequest:
    """A request about a repository, what it needs leave for, and what it carries."""

    method: str
    path: str
    repository: str
    actions: str = "pull"
    body: bytes | None = field(default=None, repr=False)
    media_type: str = "application/octet-stream"

    @property
    def headers(self) -> Mapping[str, str]:
        """What goes with it besides a login."""
        if self.body is not None:
            return {"Content-Type": self.media_type}
        return {"Accept": ", ".join(MANIFESTS)} if self.actions == "pull" else {}


def keep_trying(work: Callable[[], T], sleep: Callable[[float], None], again: str, attempts: int = ATTEMPTS) -> T:
    """Return what `work` returns, doing it anew after a pause as long as its RegistryErrors may pass by themselves.

    urllib3's own retries would not do: whether an error may pass stands in the answer's body, or in an engine's words.
    """
    for attempt in range(1, attempts + 1):
        try:
            return work()
        except RegistryError as error:
            if not error.may_pass or attempt == attempts or error.wait > PATIENCE:
                raise
            # By chance, so that clients who failed together do not come back together.
            seconds = max(error.wait, PAUSE * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            log.info(f"{error.message}; {again} in {console.duration(seconds)} ({attempt + 1} of {attempts})")
            sleep(seconds)
    raise AssertionError("unreachable")


class Registry:
    """A conversation with one registry; use it as a context manager. Its errors are RegistryErrors."""

    def __init__(
        self, access: Access, sleep: Callable[[float], None] = time.sleep, adapter: BaseAdapter | None = None
    ) -> None:
        self.access = access
        self.sleep = sleep
        self.base = ""
        self._logins: dict[str, str] = {}
        self._session = requests.Session()
        # Neither ~/.netrc nor REQUESTS_CA_BUNDLE may slip in: logins and certificates are chosen by Access.
        self._session.trust_env = False
        self._session.verify = False if access.insecure else str(access.bundle)
        self._session.mount("https://", adapter or _Adapter(access))
        self._session.mount("http://", adapter or HTTPAdapter())

    def __enter__(self) -> "Registry":
        return self

    def __exit__(self, *_exc: object) -> None:
        self._session.close()

    @property
    def connected(self) -> bool:
        """Whether the registry has answered."""
        return bool(self.base)

    def connect(self) -> None:
        """Make the first contact; a registry that cannot be reached now is an error at once, without retries."""
        if self.connected:
            return
        try:
            self.base = self._contact("https")
        except RegistryError as error:
            if not self.access.plain or error.kind not in (Kind.PLAIN_HTTP, Kind.UNREACHABLE):
                raise
            try:
                self.base = self._contact("http")
            except RegistryError as second:
                raise (second if error.kind is Kind.PLAIN_HTTP else error) from None
            log.info(f"{self.access.host} speaks plain HTTP, which the engine allows for it")

    def _contact(self, scheme: str) -> str:
        base = f"{scheme}://{self.access.api}"
        if self._send("GET", f"{base}/v2/", {}).status_code == http.HTTPStatus.NOT_FOUND:
            raise RegistryError(Kind.OTHER, f"{base} answers, but not as a registry", "check its name and port")
        return base

    def _send(self, method: str, url: str, headers: Mapping[str, str], **options: Any) -> requests.Response:
        """Return the answer to one request, whatever its status; what goes wrong on the way is a RegistryError."""
        parts = urlsplit(url)
        proxies = {} if loopback(parts.hostname or "") else get_environ_proxies(url)
        options |= {"proxies": proxies, "timeout": (CONNECT_SECONDS, READ_SECONDS)}
        try:
            with warnings.catch_warnings():
                # Said once in our own words, where it is decided that a registry is insecure.
                warnings.simplefilter("ignore", InsecureRequestWarning)
                return self._session.request(method, url, headers=dict(headers), **options)
        except requests.RequestException as error:
            raise broken(error, parts.netloc, self.access) from None

    def ask(self, request: RegistryRequest, attempts: int = ATTEMPTS) -> requests.Response:
        """Return the registry's answer to a request; what it refuses is a RegistryError."""
        self.connect()

        def once() -> requests.Response:
            answer = self._send_with_login(request)
            if answer.ok:
                return answer
            raise self._refusal(answer, request.repository)

        return keep_trying(once, self.sleep, "asking again", attempts)

    def _send_with_login(self, request: RegistryRequest) -> requests.Response:
        url = urljoin(self.base, request.path)
        scope = f"repository:{request.repository}:{request.actions}"
        known = {"Authorization": self._logins[scope]} if scope in self._logins else {}
        answer = self._send(request.method, url, {**request.headers, **known}, data=request.body)
        if answer.status_code != http.HTTPStatus.UNAUTHORIZED:
            return answer
        scheme, _, rest = answer.headers.get("WWW-Authenticate", "").partition(" ")
        if scheme.lower() == "bearer":
            parse: Callable[[str], dict[str, str | None]] = parse_dict_header
            challenge = {name.lower(): value or "" for name, value in parse(rest).items()}
            login = f"Bearer {self._token(challenge, scope)}"
        elif scheme.lower() == "basic" and self.access.credentials and self.access.credentials.username:
            login = _basic(self.access.credentials)
        else:
            return answer
        headers = {**request.headers, "Authorization": login}
        answer = self._send(request.method, url, headers, data=request.body)
        if answer.ok:
            self._logins[scope] = login
        return answer

    def _token(self, challenge: Mapping[str, str], scope: str) -> str:
        realm, credentials = challenge.get("realm", ""), self.access.credentials
        if credentials and urlsplit(realm).scheme != "https" and self.base.startswith("https"):
            text = f"{self.access.host} wants the login sent unencrypted, to {realm or 'nowhere'}"
            raise RegistryError(Kind.DENIED, text, "ask whoever runs it to give its token service a certificate")
        wish = {"scope": scope} | ({"service": challenge["service"]} if challenge.get("service") else {})
        if credentials and credentials.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": credentials.identity_token, "client_id": "dockyard"}
            answer = self._send("POST", realm, {}, data={**form, **wish})
        else:
            login = {"Authorization": _basic(credentials)} if credentials else {}
            answer = self._send("GET", realm, login, params=wish)
        if not answer.ok:
            raise self._refusal(answer, scope.split(":")[1])
        with contextlib.suppress(ValueError, AttributeError):
            document = answer.json()
            if token := document.get("token") or document.get("access_token"):
                return str(token)
        raise RegistryError(
            Kind.OTHER, f"{realm} gave no token for {self.access.host}", "log in again, or ask whoever runs it"
        )

    def _refusal(self, answer: requests.Response, repository: str) -> RegistryError:
        """Return the error that a registry's answer with a status from 400 stands for."""
        try:
            said = spoken(answer.json())
        except ValueError:
            plain = answer.headers.get("Content-Type", "").startswith("text/plain")
            said = answer.text.strip()[:200] if plain else ""
        phrase = http.client.responses.get(answer.status_code, "")
        said = ": ".join(filter(None, [f"{answer.status_code} {phrase}".strip(), said]))
        kind, host = classify(said, repository), self.access.host
        if kind is Kind.DENIED and self.access.credentials is None:
            text = f"{host} lets nobody use {repository} without a login, and there is none for it ({said})"
        elif kind is Kind.DENIED and answer.status_code == http.HTTPStatus.UNAUTHORIZED:
            text = f"{host} does not accept the login of {self.access.who} ({said})"
        elif kind is Kind.DENIED:
            text = f"{host} does not let {self.access.who} push to {repository} ({said})"
        else:
            text = f"{host} answered for {repository}: {said}"
        return self.access.error(kind, text, repository, _retry_after(answer) or wanted_pause(said))


class _Adapter(HTTPAdapter):
    """Connections with TLS settings that accept what the engine accepts, and nothing else."""

    def __init__(self, access: Access) -> None:
        try:
            self._context = context = ssl.create_default_context(cafile=None if access.insecure else str(access.bundle))
            for file in () if access.insecure else access.extra:
                if file.suffix == ".crt":
                    context.load_verify_locations(cafile=str(file))
                else:
                    context.load_cert_chain(file, file.with_suffix(".key"))
        except OSError as error:
            named = ", ".join(map(str, (access.bundle, *access.extra)))
            text = f"the certificates for {access.host} cannot be read: {error} (in {named})"
            raise RegistryError(Kind.TLS, text, "each file must hold certificates in PEM form") from None
        if access.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        # Newer Pythons demand extensions that Go, and so the engine, does not; both accept a trusted intermediate.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        return super().proxy_manager_for(*args, ssl_context=self._context, **kwargs)


def _basic(credentials: Credentials) -> str:
    return "Basic " + base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()


def _retry_after(answer: requests.Response) -> float:
    """Return the seconds that an answer asks to stay away, given as a number or as a date; 0 where it does not."""
    with contextlib.suppress(InvalidHeader, OverflowError):
        return urllib3.Retry().parse_retry_after(answer.headers.get("Retry-After", ""))
    return 0.0
