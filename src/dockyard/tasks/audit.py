"""`invoke audit`: known vulnerabilities in the locks."""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from invoke.context import Context

from dockyard import report
from dockyard.errors import DockyardError
from dockyard.tasks.door import settings, task

if TYPE_CHECKING:
    from dockyard.locks.audit import Audit, Finding


@task(help={"json": "print the result as JSON"})
def audit(_context: Context, json: bool = False) -> None:
    """Look for known vulnerabilities in every lock; exit 1 with one that is not accepted, or without an answer."""
    from dockyard.locks import audit as auditing

    found = auditing.audit(settings(), datetime.now(UTC).date(), report.say)
    if json:
        report.as_json({**dataclasses.asdict(found), "counting": sum(each.counts for each in found.findings)})
    else:
        show(found)
    warn(found)
    count = sum(each.counts for each in found.findings)
    if count:
        raise DockyardError(
            f"{count} known {'vulnerability' if count == 1 else 'vulnerabilities'} in the locks",
            "`invoke lock --upgrade-package NAME` takes the version that mends one; "
            "`accept-vulnerabilities` in [tool.dockyard] accepts one until a day",
        )
    report.say(f"{found.asked} packages looked up: no known vulnerability that is not accepted")


def show(found: "Audit") -> None:
    """Print what was found: what counts, then what is accepted and until when."""
    columns = ("package", "version", "id", "severity", "mended in", "locks")
    counting = [_row(each) for each in found.findings if each.counts]
    accepted = [
        (each.package, each.version, each.id, f"until {each.acceptance.until}: {each.acceptance.reason}")
        for each in found.findings
        if each.acceptance and not each.counts
    ]
    if counting:
        report.table(columns, counting)
    if accepted:
        report.table((*columns[:3], "accepted"), accepted)


def warn(found: "Audit") -> None:
    """Say which acceptances have ended, and which accept nothing."""
    for each in found.findings:
        if each.acceptance and each.expired:
            ended = f"{each.acceptance.until} ({each.acceptance.reason})"
            report.warn(f"{each.id} of {each.package} counts again: it was accepted until {ended}")
    for key in found.unused:
        report.warn(f"accept-vulnerabilities in [tool.dockyard]: {key} accepts nothing any more: take it out")


def _row(each: "Finding") -> tuple[str, ...]:
    names = "\n".join((each.id, *each.aliases))
    mended = ", ".join(each.mended_in) or "nothing yet"
    return each.package, each.version, names, each.severity or "not given", mended, _places(each.locks)


def _places(paths: Sequence[str]) -> str:
    """Name locks briefly, a line for each purpose: 'production 3.12 3.13'."""
    pythons: dict[str, list[str]] = {}
    for path in paths:
        _, python, file = path.split("/")
        pythons.setdefault(file.removesuffix(".txt"), []).append(python)
    return "\n".join(f"{purpose} {' '.join(each)}" for purpose, each in pythons.items())
