"""Known vulnerabilities in the locks, as an OSV service tells them; what nobody could look up is an error.

Each package and version is asked for once, however many locks hold it. Advisories that share a name are one.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from dockyard.errors import DockyardError
from dockyard.host import ca_bundle
from dockyard.locks import osv
from dockyard.locks.check import inspect_locks
from dockyard.locks.indexes import read_access
from dockyard.locks.osv import Release
from dockyard.locks.pins import Pin
from dockyard.settings import Acceptance, parse_acceptance

if TYPE_CHECKING:
    from dockyard.settings import Settings

log = logging.getLogger(__name__)

UNKNOWN = "unknown"
LEVELS = ((9.0, "critical"), (7.0, "high"), (4.0, "medium"), (0.1, "low"))
"""The lowest score of each level, as the CVSS specification has them."""
ORDER = ("critical", "high", "medium", UNKNOWN, "low", "none")
"""The worst first; what nobody has rated comes before what is rated low."""
WORDS = {"CRITICAL": "critical", "HIGH": "high", "MODERATE": "medium", "MEDIUM": "medium", "LOW": "low"}
VECTORS = {"CVSS_V4": "CVSS4", "CVSS_V3": "CVSS3", "CVSS_V2": "CVSS2"}
"""The kinds of a severity that give a score, and what computes it; the newest kind counts."""
SARIF_LEVELS = {"critical": "error", "high": "error", "low": "note", "none": "note"}
"""SARIF's words; all others, and what nobody has rated, are warnings."""


class Place(NamedTuple):
    """Where a release is locked: the path of a lock and the line of the pin."""

    lock: str
    line: int


@dataclass(frozen=True)
class Advisory:
    """What is known against one release, under all names that it has.

    `severity` is a word, 'unknown' where the service gives none; `score` is the CVSS base score from 0 to 10, None
    where no vector gives one.
    """

    id: str
    aliases: tuple[str, ...]
    severity: str
    score: float | None
    mended_in: tuple[str, ...]
    summary: str


@dataclass(frozen=True)
class Finding(Advisory):
    """One vulnerability of one version, where it is locked, and whether somebody accepts it."""

    package: str
    version: str
    locks: tuple[str, ...]
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


def audit_locks(settings: "Settings", today: date) -> Audit:
    """Look up every pin of every lock; raise DockyardError where one is missing or could not be looked up."""
    locks = _read_locks(settings)
    places = locate_releases(locks)
    log.info(f"asking for known vulnerabilities of {len(places)} packages")
    advisories = look_up(reach_service(settings, os.environ), tuple(places))
    found = judge_advisories(advisories, places, settings.accept_vulnerabilities, today)
    names = {name.upper() for each in found for name in (each.id, *each.aliases)}
    unused = tuple(name for name in settings.accept_vulnerabilities if name.upper() not in names)
    return Audit(found, len(places), unused)


def _read_locks(settings: "Settings") -> dict[str, tuple[Pin, ...]]:
    """Return the pins of every lock that should exist; a missing one would pass for one without vulnerabilities."""
    state = inspect_locks(settings)
    lost = [problem for lock in state.locks if not lock.body for problem in lock.problems]
    for problem in (*state.broken, *lost):
        raise DockyardError(f"{problem.path}:{problem.line}: {problem.message}", f"to mend: {problem.mend}")
    if any(lock.problems for lock in state.locks):
        log.info("the locks are audited as they are, but `invoke lock --check` finds something wrong with them")
    return {lock.path: lock.pins for lock in state.locks}


def locate_releases(locks: Mapping[str, Iterable[Pin]]) -> dict[Release, tuple[Place, ...]]:
    """Return where each package and version is locked."""
    places: dict[Release, tuple[Place, ...]] = {}
    for path, pins in locks.items():
        for pin in pins:
            if not pin.version:
                raise DockyardError(
                    f"{path}:{pin.line}: {pin.requirement} has no version that could be looked up",
                    "name a release of it in the .in file instead of an address",
                )
            key = Release(pin.name, pin.version)
            places[key] = (*places.get(key, ()), Place(path, pin.line))
    return places


def reach_service(settings: "Settings", environment: Mapping[str, str]) -> osv.Way:
    """Return how to reach the service: through the proxy and the certificates of the environment."""
    address = (settings.audit_url or osv.DEFAULT).rstrip("/")
    return osv.Way(address, ca_bundle(environment), read_access((), address, environment).secrets)


def look_up(way: osv.Way, releases: Sequence[Release]) -> dict[Release, tuple[Advisory, ...]]:
    """Return what the service knows against each release; raise DockyardError unless it answers for all of them."""
    found = {}
    for release, records in osv.ask(way, releases).items():
        try:
            found[release] = merge_records(*release, records)
        except (KeyError, TypeError, AttributeError, ValueError):
            names = ", ".join(str(record["id"]) for record in records)
            raise osv.IncompleteError(f"what {names} says of {release} cannot be read") from None
    return found


def judge_advisories(
    advisories: Mapping[Release, Iterable[Advisory]],
    places: Mapping[Release, tuple[Place, ...]],
    table: Mapping[str, str],
    today: date,
) -> tuple[Finding, ...]:
    """Return every vulnerability, the worst first, with where it is locked and whether its acceptance still holds."""
    known = {name.upper(): parse_acceptance(text) for name, text in table.items()}
    found = []
    for release, several in sorted(advisories.items()):
        for each in several:
            fitting = [known[name.upper()] for name in (each.id, *each.aliases) if name.upper() in known]
            acceptance = max(fitting, key=lambda one: one.until, default=None)
            found.append(
                Finding(
                    **vars(each),
                    package=release.name,
                    version=release.version,
                    locks=tuple(place.lock for place in places[release]),
                    lines=tuple(place.line for place in places[release]),
                    acceptance=acceptance,
                    expired=acceptance is not None and acceptance.until < today,
                )
            )
    return tuple(sorted(found, key=lambda each: ORDER.index(each.severity)))


def merge_records(name: str, version: str, records: Iterable[Mapping[str, Any]]) -> tuple[Advisory, ...]:
    """Return the advisories for a release, each once whatever its aliases; withdrawn ones are left out.

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
    found = (_merge_group(name, version, sorted(names, key=_rank), members) for names, members in groups)
    return tuple(sorted(found, key=lambda each: each.id))


def _rank(identifier: str) -> tuple[bool, bool, str]:
    """Order names: a CVE, which everybody knows, comes first, then a GitHub advisory."""
    return not identifier.startswith("CVE-"), not identifier.startswith("GHSA-"), identifier


def _merge_group(name: str, version: str, names: Sequence[str], group: Sequence[Mapping[str, Any]]) -> Advisory:
    scores = [found for record in group if (found := _score(record, name)) is not None]
    said = ((record.get("database_specific") or {}).get("severity") for record in group)
    words = [WORDS[word.upper()] for word in said if isinstance(word, str) and word.upper() in WORDS]
    score = max(scores, default=None)
    severity = level(score) if score is not None else min(words, key=ORDER.index, default=UNKNOWN)
    fixed = {each for record in group for each in _fixed(record, name) if _newer(each, version)}
    summary = next((str(record["summary"]) for record in group if record.get("summary")), "")
    return Advisory(names[0], tuple(names[1:]), severity, score, tuple(sorted(fixed, key=Version)), summary)


def level(score: float) -> str:
    """Return the word for a CVSS score."""
    return next((word for least, word in LEVELS if score >= least), "none")


def _score(record: Mapping[str, Any], name: str) -> float | None:
    """Return the base score of the newest kind of vector that can be read; what is said of the package comes first."""
    import cvss

    own = [each for affected in _affected(record, name) for each in affected.get("severity") or ()]
    for given in (own, record.get("severity") or ()):
        found = {each["type"]: each["score"] for each in given}
        for kind, calculator in VECTORS.items():
            try:
                if kind in found:
                    return float(getattr(cvss, calculator)(found[kind]).base_score)
            except cvss.CVSSError:
                continue
    return None


def _affected(record: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    for affected in record.get("affected") or ():
        package = affected.get("package") or {}
        if package.get("ecosystem") == "PyPI" and canonicalize_name(package["name"]) == name:
            yield affected


def _fixed(record: Mapping[str, Any], name: str) -> Iterator[str]:
    """Yield the versions in which a flaw of a package is mended; a range of commits has none."""
    for affected in _affected(record, name):
        for stretch in affected.get("ranges") or ():
            if stretch["type"] == "ECOSYSTEM":
                yield from (event["fixed"] for event in stretch["events"] if "fixed" in event)


def _newer(fixed: str, version: str) -> bool:
    """Return whether a version comes after the locked one: a fix of an older series is none."""
    try:
        return Version(fixed) > Version(version)
    except InvalidVersion:
        return False


def describe_findings(found: Audit) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rules and results of an audit for a SARIF log: one result a vulnerability, at the line of every lock.

    What is accepted is suppressed, with the reason.
    """
    rules = {each.id: _describe_rule(each) for each in found.findings}
    order = list(rules)
    return list(rules.values()), [_describe_result(each, order.index(each.id)) for each in found.findings]


def _describe_rule(finding: Finding) -> dict[str, Any]:
    score = {} if finding.score is None else {"security-severity": f"{finding.score:.1f}"}
    return {
        "id": finding.id,
        "shortDescription": {"text": finding.summary or f"{finding.id} in {finding.package}"},
        "help": {"text": "`invoke lock --upgrade-package NAME` takes the version that mends it."},
        "defaultConfiguration": {"level": SARIF_LEVELS.get(finding.severity, "warning")},
        "properties": {"tags": ["security"], **score},
    }


def _describe_result(finding: Finding, index: int) -> dict[str, Any]:
    mended = f"mended in {', '.join(finding.mended_in)}" if finding.mended_in else "no version mends it yet"
    names = ", ".join((finding.id, *finding.aliases))
    result = {
        "ruleId": finding.id,
        "ruleIndex": index,
        "level": SARIF_LEVELS.get(finding.severity, "warning"),
        "message": {"text": f"{finding.package} {finding.version}: {names}, {finding.severity}; {mended}."},
        "locations": [
            {"physicalLocation": {"artifactLocation": {"uri": path}, "region": {"startLine": line}}}
            for path, line in zip(finding.locks, finding.lines, strict=True)
        ],
        "partialFingerprints": {
            "dockyardFinding/v1": sha256(f"{finding.id}\n{finding.package}\n{finding.version}".encode()).hexdigest()
        },
    }
    if finding.acceptance and not finding.counts:
        result["suppressions"] = [
            {"kind": "external", "status": "accepted", "justification": finding.acceptance.reason}
        ]
    return result
