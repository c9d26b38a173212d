"""Known vulnerabilities in the locks, as an OSV service tells them; what nobody could look up is an error.

Each package and version is asked for once, however many locks hold it.
"""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from dockyard.errors import DockyardError
from dockyard.settings import Acceptance, parse_acceptance

if TYPE_CHECKING:
    from dockyard.locks.audit.advisories import Advisory
    from dockyard.locks.audit.osv import Release, Way
    from dockyard.locks.pins import Pin
    from dockyard.settings import Settings

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where a release is locked: the path of a lock and the line of the pin."""

    lock: str
    line: int


@dataclass(frozen=True)
class Finding:
    """One vulnerability of one version: `severity` is a word, 'unknown' where the service gives none.

    `score` is the CVSS base score from 0 to 10, None where no vector gives one.
    """

    package: str
    version: str
    id: str
    aliases: tuple[str, ...]
    severity: str
    score: float | None
    mended_in: tuple[str, ...]
    locks: tuple[str, ...]
    summary: str = ""
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


def audit(settings: "Settings", today: date) -> Audit:
    """Look up every pin of every lock; raise DockyardError where one is missing or could not be looked up."""
    from dockyard.locks.pins import parse_pins

    locks = {path: parse_pins(content) for path, content in _readable(settings).items()}
    places = placed(locks)
    log.info(f"asking for known vulnerabilities of {len(places)} packages")
    found = findings(look_up(settings, tuple(places)), places, settings.accept_vulnerabilities, today)
    names = {name.upper() for each in found for name in (each.id, *each.aliases)}
    unused = tuple(name for name in settings.accept_vulnerabilities if name.upper() not in names)
    return Audit(found, len(places), unused)


def placed(locks: Mapping[str, Iterable["Pin"]]) -> dict["Release", tuple[Place, ...]]:
    """Return where each package and version is locked."""
    from dockyard.locks.audit.osv import Release

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


def look_up(settings: "Settings", releases: Sequence["Release"]) -> dict["Release", tuple["Advisory", ...]]:
    """Return what the service knows against each release; raise DockyardError unless it answers for all of them."""
    from dockyard.locks.audit import osv
    from dockyard.locks.audit.advisories import merged

    found = {}
    for release, records in osv.ask(way(settings, os.environ), releases).items():
        try:
            found[release] = merged(*release, records)
        except (KeyError, TypeError, AttributeError, ValueError):
            names = ", ".join(str(record["id"]) for record in records)
            raise osv.IncompleteError(f"what {names} says of {release} cannot be read") from None
    return found


def way(settings: "Settings", environment: Mapping[str, str]) -> "Way":
    """Return how to reach the service: through the proxy and the certificates of the environment."""
    from dockyard.host import ca_bundle
    from dockyard.locks.audit import osv
    from dockyard.locks.indexes import read_access

    address = (settings.audit_url or osv.DEFAULT).rstrip("/")
    return osv.Way(address, ca_bundle(environment), read_access((), address, environment, None).secrets)


def findings(
    advisories: Mapping["Release", Iterable["Advisory"]],
    places: Mapping["Release", tuple[Place, ...]],
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
                    *(release.name, release.version, each.id, each.aliases, each.severity, each.score),
                    *(each.mended_in, tuple(place.lock for place in places[release]), each.summary),
                    lines=tuple(place.line for place in places[release]),
                    acceptance=acceptance,
                    expired=acceptance is not None and acceptance.until < today,
                )
            )
    return tuple(sorted(found, key=_order))


def _order(each: Finding) -> int:
    """Return a low number for what is severe; what nobody has rated comes before what is rated low."""
    return ("critical", "high", "medium", "unknown", "low", "none").index(each.severity)


def _readable(settings: "Settings") -> dict[str, str]:
    """Return the text of every lock that should exist; a missing one would pass for one without vulnerabilities."""
    from dockyard.locks.check import inspect_locks, select_lock_settings
    from dockyard.locks.plan import lock_text

    state = inspect_locks(select_lock_settings(settings))
    lost = [problem for lock in state.locks if not lock.body for problem in lock.problems]
    for problem in (*state.broken, *lost):
        raise DockyardError(f"{problem.path}:{problem.line}: {problem.message}", f"to mend: {problem.mend}")
    if any(lock.problems for lock in state.locks):
        log.info("the locks are audited as they are, but `invoke lock --check` finds something wrong with them")
    return {lock.path: lock_text(lock) for lock in state.locks}
