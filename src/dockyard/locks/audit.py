"""Known vulnerabilities in the locks, as an OSV service tells them; what nobody could look up is an error.

Each package and version is asked for once, however many locks hold it. One request names the advisories of every
package, then each advisory is fetched once; those that share a name are one. The service says nothing of whether it
knows a package at all, so a release that is known to be vulnerable is asked for too: a service without data would find
nothing against that one either.
"""

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import requests
import requests.adapters
import urllib3
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from dockyard.errors import DockyardError, list_causes, name_cause
from dockyard.host import ca_bundle
from dockyard.locks.check import inspect_locks
from dockyard.locks.indexes import read_access
from dockyard.locks.inputs import InputError
from dockyard.locks.pins import Pin
from dockyard.process import redact
from dockyard.settings import parse_acceptance

if TYPE_CHECKING:
    from dockyard.settings import Settings

log = logging.getLogger(__name__)

SERVICE = "https://api.osv.dev"
"""The public service, which takes no key. It is named here alone; the setting audit-url names another one."""
MOST = 1000
"""Packages in one question: more are refused."""
WORKERS = 8
PAGES = 100
SECONDS = (10.0, 30.0)
"""How long a connection may take, and how long it may be silent."""
RETRIES, LONGEST_WAIT = 2, 10
LEVELS = ((9.0, "critical"), (7.0, "high"), (4.0, "medium"), (0.1, "low"))
"""The lowest score of each level, as the CVSS specification has them."""
ORDER = ("critical", "high", "medium", "unknown", "low", "none")
"""The worst first; what nobody has rated comes before what is rated low."""
WORDS = {"CRITICAL": "critical", "HIGH": "high", "MODERATE": "medium", "MEDIUM": "medium", "LOW": "low"}
VECTORS = {"CVSS_V4": "CVSS4", "CVSS_V3": "CVSS3", "CVSS_V2": "CVSS2"}
"""The kinds of a severity that give a score, and what computes it; the newest kind counts."""


class Release(NamedTuple):
    """One version of one package."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


SENTINEL = Release("jinja2", "2.4.1")
"""A release with a dozen advisories: it is the example of the service's own manual."""


@dataclass(frozen=True)
class Acceptance:
    """Why a known vulnerability is accepted, and the last day on which it is."""

    until: date
    reason: str


@dataclass(frozen=True)
class Finding:
    """One vulnerability of one release under all names that it has, where that is locked, and whether it is accepted.

    `severity` is a word, 'unknown' where the service gives none; `score` is the CVSS base score from 0 to 10, None
    where no vector gives one.
    """

    id: str
    aliases: tuple[str, ...]
    severity: str
    score: float | None
    mended_in: tuple[str, ...]
    summary: str
    package: str
    version: str
    locks: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()
    acceptance: Acceptance | None = None
    expired: bool = False

    @property
    def counts(self) -> bool:
        """Whether nobody accepts it, or no longer."""
        return self.acceptance is None or self.expired


@dataclass(frozen=True)
class Audit:
    """What an audit found: `asked` packages were looked up, `unused` acceptances fit no finding."""

    findings: tuple[Finding, ...]
    asked: int
    unused: tuple[str, ...] = ()


class IncompleteError(DockyardError):
    """Something was not answered, so nothing can be said of the locks."""

    def __init__(self, said: str) -> None:
        super().__init__(
            f"the audit is not complete, so nothing can be said of the locks: {said}",
            "`audit-url` in [tool.dockyard] names the OSV service to ask; `invoke doctor` checks the network",
        )


def audit_locks(settings: "Settings", today: date) -> Audit:
    """Look up every pin of every lock; raise DockyardError where one is missing or could not be looked up."""
    known = inspect_locks(settings)
    # A missing lock would pass for one without vulnerabilities.
    lost = [problem for lock in known.locks if not lock.body for problem in lock.problems]
    for problem in (*known.broken, *lost):
        raise InputError(problem.path, problem.line, problem.message, problem.mend)
    places = locate_releases({lock.path: lock.pins for lock in known.locks})
    log.info(f"asking for known vulnerabilities of {len(places)} packages")
    found: list[Finding] = []
    for release, records in Service(settings, os.environ).read_advisories(tuple(places)).items():
        try:
            found += merge_records(release, records)
        except (KeyError, TypeError, AttributeError, ValueError):
            said = ", ".join(str(record["id"]) for record in records)
            raise IncompleteError(f"what {said} says of {release} cannot be read") from None
    table = settings.accept_vulnerabilities
    accepted = {name.upper(): Acceptance(*parse_acceptance(text)) for name, text in table.items()}
    judged = [judge_finding(each, places[Release(each.package, each.version)], accepted, today) for each in found]
    judged.sort(key=lambda each: (ORDER.index(each.severity), each.package, each.version))
    names = {name.upper() for each in found for name in (each.id, *each.aliases)}
    unused = tuple(name for name in table if name.upper() not in names)
    return Audit(tuple(judged), len(places), unused)


def locate_releases(locks: Mapping[str, Iterable[Pin]]) -> dict[Release, dict[str, int]]:
    """Return the locks that hold each package and version, with the line of the pin."""
    places: dict[Release, dict[str, int]] = {}
    for path, pins in locks.items():
        for pin in pins:
            if not pin.version:
                wrong = f"{path}:{pin.line}: {pin.requirement} has no version that could be looked up"
                raise DockyardError(wrong, "name a release of it in the .in file instead of an address")
            places.setdefault(Release(pin.name, pin.version), {}).setdefault(path, pin.line)
    return places


def judge_finding(
    found: Finding, places: Mapping[str, int], accepted: Mapping[str, Acceptance], today: date
) -> Finding:
    """Return a finding with where it is locked, and with its acceptance, by any of its names, that holds longest."""
    fitting = [accepted[name.upper()] for name in (found.id, *found.aliases) if name.upper() in accepted]
    acceptance = max(fitting, key=attrgetter("until"), default=None)
    expired = acceptance is not None and acceptance.until < today
    locks, lines = tuple(places), tuple(places.values())
    return replace(found, locks=locks, lines=lines, acceptance=acceptance, expired=expired)


def merge_records(release: Release, records: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """Return what is known against a release, each once whatever its aliases; withdrawn advisories are left out.

    Raise KeyError, TypeError or AttributeError for a record that is not laid out as OSV documents it.
    """
    groups: list[tuple[set[str], list[Mapping[str, Any]]]] = []
    for record in (record for record in records if not record.get("withdrawn")):
        names, members = {record["id"], *(record.get("aliases") or ())}, [record]
        apart = []
        for group in groups:  # those that share a name with it become one with it
            if group[0] & names:
                names |= group[0]
                members = [*group[1], *members]
            else:
                apart.append(group)
        groups = [*apart, (names, members)]
    found = []
    for names, members in groups:
        # A CVE, which everybody knows, comes first, then a GitHub advisory.
        first, *others = sorted(names, key=lambda one: (not one.startswith("CVE-"), not one.startswith("GHSA-"), one))
        score = max((score for each in members if (score := _score(each, release.name)) is not None), default=None)
        said = ((each.get("database_specific") or {}).get("severity") for each in members)
        words = [WORDS[word.upper()] for word in said if isinstance(word, str) and word.upper() in WORDS]
        severity = level(score) if score is not None else min(words, key=ORDER.index, default="unknown")
        fixes = {fix for each in members for fix in _list_fixes(each, release)}
        summary = next((str(each["summary"]) for each in members if each.get("summary")), "")
        mended_in = tuple(sorted(fixes, key=Version))
        found.append(Finding(first, tuple(others), severity, score, mended_in, summary, *release))
    return sorted(found, key=attrgetter("id"))


def level(score: float) -> str:
    """Return the word for a CVSS score."""
    return next((word for least, word in LEVELS if score >= least), "none")


def _score(record: Mapping[str, Any], name: str) -> float | None:
    """Return the base score of the newest kind of vector that can be read, of the record or of the package in it."""
    import cvss

    parts = (record, *_affected(record, name))
    found = {each["type"]: each["score"] for part in parts for each in part.get("severity") or ()}
    for kind, calculator in VECTORS.items():
        with contextlib.suppress(cvss.CVSSError):
            if kind in found:
                return float(getattr(cvss, calculator)(found[kind]).base_score)
    return None


def _affected(record: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    for affected in record.get("affected") or ():
        package = affected.get("package") or {}
        if package.get("ecosystem") == "PyPI" and canonicalize_name(package["name"]) == name:
            yield affected


def _list_fixes(record: Mapping[str, Any], release: Release) -> Iterator[str]:
    """Yield the versions after the locked one in which a flaw is mended: a fix of an older series is none."""
    stretches = (stretch for affected in _affected(record, release.name) for stretch in affected.get("ranges") or ())
    for stretch in stretches:
        for event in stretch["events"] if stretch["type"] == "ECOSYSTEM" else ():  # a range of commits has no version
            try:
                if "fixed" in event and Version(event["fixed"]) > Version(release.version):
                    yield event["fixed"]
            except InvalidVersion:
                continue


class Service:
    """A session with an OSV service; whatever it does not answer plainly is an IncompleteError.

    It is reached through the proxy and the certificates of the environment, whose passwords no message shows.
    """

    def __init__(self, settings: "Settings", environment: Mapping[str, str]) -> None:
        self.address = (settings.audit_url or SERVICE).rstrip("/")
        self.secrets = read_access((), self.address, environment).secrets
        self.name = redact(self.address, self.secrets)
        self.bundle = ca_bundle(environment)
        self.session = requests.Session()
        retry = urllib3.Retry(
            RETRIES,
            allowed_methods=None,
            status_forcelist=(429, 500, 502, 503, 504),
            backoff_factor=0.5,
            raise_on_status=False,
            retry_after_max=LONGEST_WAIT,
        )
        for scheme in ("https://", "http://"):
            self.session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=WORKERS, max_retries=retry))

    def read_advisories(self, releases: Sequence[Release]) -> dict[Release, list[Mapping[str, Any]]]:
        """Return the records of all advisories for each release."""
        with self.session:
            named = self.list_identifiers(dict.fromkeys((*releases, SENTINEL)))
            if not named[SENTINEL]:
                said = f"{self.name} knows nothing against {SENTINEL}, which is known to be vulnerable"
                raise IncompleteError(f"{said}: it has no data on Python packages")
            identifiers = sorted({name for release in releases for name in named[release]})
            with ThreadPoolExecutor(WORKERS) as pool:
                records = dict(zip(identifiers, pool.map(self.read_advisory, identifiers), strict=True))
        return {release: [records[name] for name in dict.fromkeys(named[release])] for release in releases}

    def list_identifiers(self, releases: Iterable[Release]) -> dict[Release, list[str]]:
        """Return the identifiers of the advisories for each release."""
        waiting = [(release, "") for release in releases]
        found: dict[Release, list[str]] = {release: [] for release, _ in waiting}
        for _ in range(PAGES):
            if not waiting:
                return found
            asked, waiting = waiting[:MOST], waiting[MOST:]
            queries = [
                {"package": {"name": release.name, "ecosystem": "PyPI"}, "version": release.version}
                | ({"page_token": token} if token else {})
                for release, token in asked
            ]
            try:
                results = self._ask("POST", "/v1/querybatch", {"queries": queries})["results"]
                for (release, _), result in zip(asked, results, strict=True):
                    found[release] += [str(each["id"]) for each in result.get("vulns") or ()]
                    waiting += [(release, token)] if (token := result.get("next_page_token")) else []
            except (AttributeError, KeyError, TypeError, ValueError):
                said = _name(release for release, _ in asked)
                raise IncompleteError(f"{self.name} did not answer for {said}") from None
        raise IncompleteError(f"{self.name} goes on for ever with {_name(release for release, _ in waiting)}")

    def read_advisory(self, identifier: str) -> Mapping[str, Any]:
        """Return the record of an advisory."""
        record = self._ask("GET", f"/v1/vulns/{quote(identifier, safe='')}")
        if record.get("id") != identifier:
            raise IncompleteError(f"{self.name} has no readable record of {identifier}")
        return record

    def _ask(self, method: str, path: str, question: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        try:
            address = f"{self.address}{path}"
            # Certificates are named for each request: a session's own choice gives way to REQUESTS_CA_BUNDLE.
            verify = str(self.bundle) if self.bundle else True
            answer = self.session.request(method, address, json=question, timeout=SECONDS, verify=verify)
        except requests.RequestException as error:
            reason = redact(f"{type(error).__name__}: {name_cause(list_causes(error))}", self.secrets)
            raise IncompleteError(f"{self.name}{path} cannot be had: {reason}") from None
        said = f"status {answer.status_code} {answer.reason}"
        if answer.ok:
            said = "what is no JSON object"
            with contextlib.suppress(ValueError):
                if isinstance(document := answer.json(), dict):
                    return document
        raise IncompleteError(f"{self.name}{path} answered with {redact(said, self.secrets)}")


def _name(releases: Iterable[Release], most: int = 3) -> str:
    names = [str(release) for release in releases]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
