"""Read advisories in the OSV format: how severe they are, what mends them, and which are one and the same (pure)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.utils import canonicalize_name

UNKNOWN = "unknown"
LEVELS = ((9.0, "critical"), (7.0, "high"), (4.0, "medium"), (0.1, "low"))
"""The lowest score of each level, as the CVSS specification has them."""
WORDS = {"CRITICAL": "critical", "HIGH": "high", "MODERATE": "medium", "MEDIUM": "medium", "LOW": "low"}
VECTORS = {"CVSS_V4": "CVSS4", "CVSS_V3": "CVSS3", "CVSS_V2": "CVSS2"}
"""The kinds of a severity that give a score, and what computes it; the newest kind counts."""


@dataclass(frozen=True)
class Advisory:
    """What is known against one release, under all names that it has; `score` is from 0 to 10 where one is given."""

    id: str
    aliases: tuple[str, ...]
    severity: str
    score: float | None
    mended_in: tuple[str, ...]
    summary: str


def merged(name: str, version: str, records: Iterable[Mapping[str, Any]]) -> tuple[Advisory, ...]:
    """Return the advisories for a release, each once whatever its aliases; withdrawn ones are left out.

    Raise KeyError, TypeError or AttributeError for a record that is not laid out as OSV documents it.
    """
    standing = [record for record in records if not record.get("withdrawn")]
    return tuple(sorted((_one(name, version, group) for group in grouped(standing)), key=lambda each: each.id))


def grouped(records: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Put together the records that share a name, directly or through one another."""
    groups: list[tuple[set[str], list[Mapping[str, Any]]]] = []
    for record in records:
        names, members = {record["id"], *(record.get("aliases") or ())}, [record]
        apart = []
        for group in groups:
            if group[0] & names:
                names |= group[0]
                members = [*group[1], *members]
            else:
                apart.append(group)
        groups = [*apart, (names, members)]
    return [members for _, members in groups]


def level(score: float) -> str:
    """Return the word for a CVSS score."""
    return next((word for least, word in LEVELS if score >= least), "none")


def _one(name: str, version: str, group: Sequence[Mapping[str, Any]]) -> Advisory:
    from packaging.version import Version

    names = sorted({each for record in group for each in (record["id"], *(record.get("aliases") or ()))}, key=_rank)
    scores = [found for record in group if (found := _score(record, name)) is not None]
    words = [word for record in group if (word := _word(record))]
    score = max(scores, default=None)
    severity = level(score) if score is not None else max(words, key=_weight, default=UNKNOWN)
    fixed = {each for record in group for each in _fixed(record, name) if _newer(each, version)}
    summary = next((str(record["summary"]) for record in group if record.get("summary")), "")
    return Advisory(names[0], tuple(names[1:]), severity, score, tuple(sorted(fixed, key=Version)), summary)


def _rank(identifier: str) -> tuple[bool, bool, str]:
    """Order names: a CVE, which everybody knows, comes first, then a GitHub advisory."""
    return not identifier.startswith("CVE-"), not identifier.startswith("GHSA-"), identifier


def _weight(word: str) -> int:
    return [*reversed([name for _, name in LEVELS])].index(word)


def _score(record: Mapping[str, Any], name: str) -> float | None:
    """Return the base score of the newest kind of vector that can be read; what is said of the package comes first."""
    own = [each for affected in _affected(record, name) for each in affected.get("severity") or ()]
    for given in (own, record.get("severity") or ()):
        found = {each["type"]: each["score"] for each in given}
        scores = (_computed(calculator, found[kind]) for kind, calculator in VECTORS.items() if kind in found)
        if (score := next((each for each in scores if each is not None), None)) is not None:
            return score
    return None


def _computed(calculator: str, vector: str) -> float | None:
    import cvss

    try:
        return float(getattr(cvss, calculator)(vector).base_score)
    except cvss.CVSSError:
        return None


def _word(record: Mapping[str, Any]) -> str:
    said = (record.get("database_specific") or {}).get("severity")
    return WORDS.get(said.upper(), "") if isinstance(said, str) else ""


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
    from packaging.version import InvalidVersion, Version

    try:
        return Version(fixed) > Version(version)
    except InvalidVersion:
        return False
