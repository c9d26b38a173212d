"""Known vulnerabilities in the locks, as pip-audit's source tells them; what nobody could look up is an error.

Each package and version is asked for once, however many locks hold it.
"""

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockyard.errors import DockyardError

if TYPE_CHECKING:
    from dockyard.execute import Command, Completed
    from dockyard.locks.body import Pin
    from dockyard.settings import Settings

Say = Callable[[str], None]
Answers = dict[tuple[str, str], list[dict[str, Any]]]
TIMEOUT = 900
"""Seconds for one run of pip-audit: it asks for one package after another."""
IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9:.]+)+")
ACCEPTANCE = re.compile(r"until ([0-9]{4}-[0-9]{2}-[0-9]{2}): *(\S.*)", re.DOTALL)
LOGGED = re.compile(r"(?:ERROR|CRITICAL):[\w.]+:(.+)")


@dataclass(frozen=True)
class Acceptance:
    """Why a vulnerability is accepted, and the last day on which it is."""

    until: date
    reason: str


@dataclass(frozen=True)
class Finding:
    """One vulnerability of one version; `severity` is empty where the source gives none."""

    package: str
    version: str
    id: str
    aliases: tuple[str, ...]
    severity: str
    mended_in: tuple[str, ...]
    locks: tuple[str, ...]
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


def accepted(text: str) -> Acceptance:
    """Read an acceptance, 'until YYYY-MM-DD: reason'; raise ValueError in words that a person can use."""
    match = ACCEPTANCE.fullmatch(text.strip())
    if not match:
        raise ValueError('must be "until YYYY-MM-DD: reason"')
    try:
        return Acceptance(date.fromisoformat(match[1]), match[2])
    except ValueError:
        raise ValueError(f"there is no day {match[1]}") from None


def wrong_acceptance(identifier: str, text: str) -> str:
    """Say what is wrong with an entry of accept-vulnerabilities, or nothing."""
    if not IDENTIFIER.fullmatch(identifier):
        return "is no identifier of a vulnerability, such as CVE-2024-1234"
    try:
        accepted(text)
    except ValueError as error:
        return str(error)
    return ""


def audit(settings: "Settings", today: date, say: Say) -> Audit:
    """Look up every pin of every lock; raise DockyardError where one is missing or could not be looked up."""
    from dockyard.locks.body import parse
    from dockyard.locks.plan import text

    locks = {path: parse(content) for path, content in _readable(settings, text, say).items()}
    places = placed(locks)
    answers: Answers = {}
    for pins in rounds(locks.values()):
        say(f"asking for known vulnerabilities of {len(pins)} packages")
        answers |= ask(pins)
    found = findings(answers, places, settings.accept_vulnerabilities, today)
    names = {name.upper() for each in found for name in (each.id, *each.aliases)}
    unused = tuple(name for name in settings.accept_vulnerabilities if name.upper() not in names)
    return Audit(found, len(places), unused)


def placed(locks: Mapping[str, Iterable["Pin"]]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the locks that hold each package and version."""
    places: dict[tuple[str, str], tuple[str, ...]] = {}
    for path, pins in locks.items():
        for pin in pins:
            if not pin.version:
                raise DockyardError(
                    f"{path}:{pin.line}: {pin.requirement} has no version that could be looked up",
                    "name a release of it in the .in file instead of an address",
                )
            key = (pin.name, pin.version)
            places[key] = (*places.get(key, ()), path)
    return places


def rounds(locks: Iterable[Iterable["Pin"]]) -> tuple[tuple["Pin", ...], ...]:
    """Return every pin once, in as few parts as there are versions of one package: pip-audit takes one at a time."""
    versions: dict[str, dict[str, Pin]] = {}
    for pin in (pin for pins in locks for pin in pins):
        versions.setdefault(pin.name, {}).setdefault(pin.version, pin)
    several = [list(each.values()) for _, each in sorted(versions.items())]
    most = max(map(len, several), default=0)
    return tuple(tuple(pins[place] for pins in several if place < len(pins)) for place in range(most))


def ask(pins: Sequence["Pin"]) -> Answers:
    """Return what pip-audit knows of each pin; raise DockyardError unless it answers for all of them."""
    from dockyard.execute import capture
    from dockyard.locks.body import render

    with tempfile.TemporaryDirectory(prefix="dockyard-audit-") as folder:
        file = Path(folder, "pins.txt")
        file.write_text(render((), (pin._replace(via=()) for pin in pins)), encoding="utf-8")
        asked = command(file, os.environ)
        return answered(asked, capture(asked, check=False), pins)


def command(file: Path, environment: Mapping[str, str]) -> "Command":
    """Return the command that looks up the pins of a file, and installs and resolves nothing."""
    from dockyard import world
    from dockyard.execute import Command
    from dockyard.locks import access

    bundle = world.ca_bundle(environment)
    return Command(
        (
            *(sys.executable, "-m", "pip_audit", "--requirement", str(file), "--require-hashes", "--disable-pip"),
            *("--no-deps", "--strict", "--format", "json", "--aliases", "on", "--progress-spinner", "off"),
        ),
        env={"PIP_AUDIT_LOGLEVEL": None, **({"REQUESTS_CA_BUNDLE": str(bundle)} if bundle else {})},
        timeout=TIMEOUT,
        secrets=access.read((), "", environment, None).secrets,
    )


def answered(asked: "Command", done: "Completed", pins: Iterable["Pin"]) -> Answers:
    """Read an answer; one that is not whole is an error, whatever the exit status says."""
    from dockyard.execute import redact
    from dockyard.locks.body import canonical_name

    if "No module named pip_audit" in done.stderr:
        raise DockyardError(
            "pip-audit is not installed beside Dockyard",
            "add pip-audit to requirements/development.in, run `invoke lock`, then ./bootstrap",
        )
    try:
        rows = json.loads(done.stdout)["dependencies"]
        known = {canonical_name(row["name"]): row for row in rows}
        for row in rows:
            if "skip_reason" not in row:
                _check(row)
    except (ValueError, KeyError, TypeError):
        raise _unanswered(redact(_reason(done), asked.secrets)) from None
    missing = [pin.requirement for pin in pins if "vulns" not in known.get(pin.name, {})]
    if missing:
        reasons = [row["skip_reason"] for row in rows if "skip_reason" in row]
        raise _unanswered(f"no answer for {', '.join(missing)}", *reasons[:1])
    found: Answers = {(pin.name, pin.version): known[pin.name]["vulns"] for pin in pins}
    if done.returncode != int(any(found.values())):
        raise _unanswered(redact(_reason(done), asked.secrets))
    return found


def findings(
    answers: Answers, places: Mapping[tuple[str, str], tuple[str, ...]], table: Mapping[str, str], today: date
) -> tuple[Finding, ...]:
    """Return every vulnerability with where it is locked, and whether its acceptance still holds."""
    known = {name.upper(): accepted(text) for name, text in table.items()}
    found = []
    for (package, version), vulnerabilities in sorted(answers.items()):
        for each in vulnerabilities:
            names = (each["id"], *each.get("aliases", ()))
            fitting = [known[name.upper()] for name in names if name.upper() in known]
            acceptance = max(fitting, key=lambda one: one.until, default=None)
            found.append(
                Finding(
                    *(package, version, each["id"], tuple(sorted(names[1:])), str(each.get("severity") or "")),
                    *(tuple(each["fix_versions"]), places[package, version]),
                    acceptance=acceptance,
                    expired=acceptance is not None and acceptance.until < today,
                )
            )
    return tuple(found)


def _readable(settings: "Settings", text: Callable[..., str], say: Say) -> dict[str, str]:
    """Return the text of every lock that should exist; a missing one would pass for one without vulnerabilities."""
    from dockyard.locks import quick, verify

    state = verify.inspect(quick.of(settings))
    lost = [problem for lock in state.locks if not lock.body for problem in lock.problems]
    for problem in (*state.broken, *lost):
        raise DockyardError(f"{problem.path}:{problem.line}: {problem.message}", f"to mend: {problem.mend}")
    if any(lock.problems for lock in state.locks):
        say("the locks are audited as they are, but `invoke lock --check` finds something wrong with them")
    return {lock.path: text(lock) for lock in state.locks}


def _check(row: Mapping[str, Any]) -> None:
    """Raise KeyError or TypeError where an answer is not laid out as pip-audit documents it."""
    for each in row["vulns"]:
        if not isinstance(each["id"], str) or not isinstance(each["fix_versions"], list):
            raise TypeError


def _unanswered(*said: str) -> DockyardError:
    return DockyardError(
        f"the audit is not complete, so nothing can be said of the locks: {': '.join(said)}",
        "pip-audit must reach https://pypi.org, and it must know each package; `invoke doctor` checks the network",
    )


def _reason(done: "Completed") -> str:
    """Return what pip-audit says went wrong: its own errors, else the last line of its traceback."""
    lines = done.stderr.strip().splitlines()
    logged = [match[1] for match in map(LOGGED.match, lines) if match]
    return "; ".join(logged) or (lines[-1] if lines else f"pip-audit ended with exit status {done.returncode}")
