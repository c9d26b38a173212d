"""Ask an OSV service what is known against packages: an answer that is not whole is an error.

One request names the advisories of every package, then each advisory is fetched once. The service says nothing of
whether it knows a package at all, so a release that is known to be vulnerable is asked for too: a service without
data would find nothing against that one either.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import requests
import requests.adapters
import urllib3

from dockyard.errors import DockyardError, list_causes, name_cause
from dockyard.process import redact

DEFAULT = "https://api.osv.dev"
"""The public service, which takes no key. It is named here alone; the setting audit-url names another one."""
MOST = 1000
"""Packages in one question: more are refused."""
WORKERS = 8
PAGES = 100
SECONDS = (10.0, 30.0)
"""How long a connection may take, and how long it may be silent."""
RETRIES, LONGEST_WAIT = 2, 10


class Release(NamedTuple):
    """One version of one package."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


SENTINEL = Release("jinja2", "2.4.1")
"""A release with a dozen advisories: it is the example of the service's own manual."""


class IncompleteError(DockyardError):
    """Something was not answered, so nothing can be said of the locks."""

    def __init__(self, said: str) -> None:
        super().__init__(
            f"the audit is not complete, so nothing can be said of the locks: {said}",
            "`audit-url` in [tool.dockyard] names the OSV service to ask; `invoke doctor` checks the network",
        )


@dataclass(frozen=True)
class Way:
    """How to reach a service: its address, the host's certificates, and what no message may show."""

    address: str
    bundle: Path | None = None
    secrets: tuple[str, ...] = ()


class Service:
    """A session with an OSV service; whatever it does not answer plainly is an IncompleteError."""

    def __init__(self, way: Way) -> None:
        retry = urllib3.Retry(
            RETRIES,
            allowed_methods=None,
            status_forcelist=(429, 500, 502, 503, 504),
            backoff_factor=0.5,
            raise_on_status=False,
            retry_after_max=LONGEST_WAIT,
        )
        self._way = way
        self._session = requests.Session()
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=WORKERS, max_retries=retry))
        # Named for each request: a session's own choice gives way to REQUESTS_CA_BUNDLE.
        self._verify = str(way.bundle) if way.bundle else True

    def close(self) -> None:
        """Close every connection."""
        self._session.close()

    def identifiers(self, releases: Sequence[Release]) -> dict[Release, tuple[str, ...]]:
        """Return the identifiers of the advisories for each release."""
        found: dict[Release, tuple[str, ...]] = {}
        waiting = [(release, "") for release in releases]
        for _ in range(PAGES):
            if not waiting:
                return found
            asked, waiting = waiting[:MOST], waiting[MOST:]
            queries = [
                {"package": {"name": release.name, "ecosystem": "PyPI"}, "version": release.version}
                | ({"page_token": token} if token else {})
                for release, token in asked
            ]
            answer = self._ask("POST", "/v1/querybatch", {"queries": queries})
            results = answer.get("results")
            if not isinstance(results, list) or len(results) != len(asked):
                raise IncompleteError(f"{self._name} did not answer for {_names(release for release, _ in asked)}")
            for (release, _), result in zip(asked, results, strict=True):
                names, token = self._read(release, result)
                found[release] = (*found.get(release, ()), *names)
                waiting += [(release, token)] if token else []
        raise IncompleteError(f"{self._name} goes on for ever with {_names(release for release, _ in waiting)}")

    def advisory(self, identifier: str) -> Mapping[str, Any]:
        """Return the record of an advisory."""
        record = self._ask("GET", f"/v1/vulns/{quote(identifier, safe='')}")
        version = record.get("schema_version", "1")
        if record.get("id") != identifier or not isinstance(version, str) or version.split(".")[0] != "1":
            raise IncompleteError(f"{self._name} has no readable record of {identifier}")
        return record

    @property
    def _name(self) -> str:
        return redact(self._way.address, self._way.secrets)

    def _read(self, release: Release, result: Any) -> tuple[list[str], str]:
        """Return what one result names, and the token of the next page or nothing."""
        try:
            names = [each["id"] for each in result.get("vulns") or ()]
            token = result.get("next_page_token") or ""
        except (AttributeError, KeyError, TypeError):
            names, token = [None], ""
        if not all(isinstance(each, str) and each for each in (*names, token or "-")):
            raise IncompleteError(f"{self._name} did not answer for {release}")
        return names, token

    def _ask(self, method: str, path: str, question: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        try:
            address = f"{self._way.address}{path}"
            answer = self._session.request(method, address, json=question, timeout=SECONDS, verify=self._verify)
            document = answer.json() if answer.ok else None
        except requests.exceptions.JSONDecodeError:
            raise IncompleteError(f"{self._name}{path} did not answer with JSON") from None
        except requests.RequestException as error:
            reason = redact(f"{type(error).__name__}: {name_cause(list_causes(error))}", self._way.secrets)
            raise IncompleteError(f"{self._name}{path} cannot be had: {reason}") from None
        if not isinstance(document, dict):
            said = f"status {answer.status_code} {answer.reason}".rstrip() if not answer.ok else "something else"
            raise IncompleteError(f"{self._name}{path} answered with {redact(said, self._way.secrets)}")
        return document


def ask(way: Way, releases: Sequence[Release]) -> dict[Release, list[Mapping[str, Any]]]:
    """Return the records of all advisories for each release; raise IncompleteError unless all is answered."""
    service = Service(way)
    try:
        named = service.identifiers([*releases, *(() if SENTINEL in releases else (SENTINEL,))])
        if not named[SENTINEL]:
            raise IncompleteError(
                f"{redact(way.address, way.secrets)} knows nothing against {SENTINEL}, "
                "which is known to be vulnerable: it has no data on Python packages"
            )
        wanted = {release: tuple(dict.fromkeys(named[release])) for release in releases}
        identifiers = sorted({name for names in wanted.values() for name in names})
        with ThreadPoolExecutor(WORKERS) as pool:
            records = dict(zip(identifiers, pool.map(service.advisory, identifiers), strict=True))
    finally:
        service.close()
    return {release: [records[name] for name in names] for release, names in wanted.items()}


def _names(releases: Iterable[Release], most: int = 3) -> str:
    names = [str(release) for release in releases]
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
