"""`invoke audit`: known vulnerabilities in the locks."""

import dataclasses
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context

from dockyard import console
from dockyard.errors import DockyardError
from dockyard.tasks.boundary import settings, task

if TYPE_CHECKING:
    from dockyard.image.records import AuditRecord
    from dockyard.locks.audit import Audit, Finding
    from dockyard.settings import Settings

log = logging.getLogger(__name__)

MOST_RECORDED = 1000


@task(
    help={
        "json": "print the result as JSON",
        "sarif": "write the result to this file as SARIF 2.1.0 too, for code scanning",
    }
)
def audit(_context: Context, json: bool = False, sarif: str = "") -> None:
    """Look for known vulnerabilities in every lock; exit 1 with one that is not accepted, or without an answer."""
    from dockyard.image.records import record_run
    from dockyard.locks.audit import audit_locks, describe_findings

    project = settings()
    with record_run(project, "audit") as recording:
        with recording.step("look up every package"):
            found = audit_locks(project, datetime.now(UTC).date())
        recording.details["audit"] = describe_audit(found)
        recording.failed = any(each.counts for each in found.findings)
    if sarif:
        from dockyard.verify.output import format_sarif_log, write_sarif

        write_sarif(Path(sarif), format_sarif_log("audit", *describe_findings(found)))
    if json:
        console.as_json({**dataclasses.asdict(found), "counting": sum(each.counts for each in found.findings)})
    else:
        show(project, found)
    warn(found)
    count = sum(each.counts for each in found.findings)
    if count:
        raise DockyardError(
            f"{count} known {'vulnerability' if count == 1 else 'vulnerabilities'} in the locks",
            "`invoke lock --upgrade-package NAME` takes the version that mends one; "
            "`accept-vulnerabilities` in [tool.dockyard] accepts one until a day",
        )
    log.info(f"{found.asked} packages looked up: no known vulnerability that is not accepted")


def describe_audit(found: "Audit") -> "AuditRecord":
    """Return what a run record holds of an audit."""
    return {
        "packages": found.asked,
        "vulnerabilities": [
            {
                "id": each.id,
                "package": each.package,
                "version": each.version,
                "severity": each.severity,
                "score": each.score,
                "fixed_in": list(each.mended_in),
                "accepted": not each.counts,
            }
            for each in found.findings[:MOST_RECORDED]
        ],
    }


def show(project: "Settings", found: "Audit") -> None:
    """Print what was found: what counts, then what is accepted and until when."""
    columns = ("package", "version", "id", "severity", "mended in", "locks")
    counting = [_row(project, each) for each in found.findings if each.counts]
    accepted = [
        (
            each.package,
            each.version,
            each.id,
            severity(each),
            f"until {each.acceptance.until}: {each.acceptance.reason}",
        )
        for each in found.findings
        if each.acceptance and not each.counts
    ]
    if counting:
        console.table(columns, counting)
    if accepted:
        console.table((*columns[:4], "accepted"), accepted)


def warn(found: "Audit") -> None:
    """Say which acceptances have ended, and which accept nothing."""
    for each in found.findings:
        if each.acceptance and each.expired:
            ended = f"{each.acceptance.until} ({each.acceptance.reason})"
            log.warning(f"{each.id} of {each.package} counts again: it was accepted until {ended}")
    for key in found.unused:
        log.warning(f"accept-vulnerabilities in [tool.dockyard]: {key} accepts nothing any more: take it out")


def severity(each: "Finding") -> str:
    """Return a severity as a person reads it: 'high 7.5', or the word alone where there is no score."""
    return each.severity if each.score is None else f"{each.severity} {each.score:.1f}"


def _row(project: "Settings", each: "Finding") -> tuple[str, ...]:
    from dockyard.tasks.lock import name_locks

    names = "\n".join((each.id, *each.aliases))
    mended = ", ".join(each.mended_in) or "nothing yet"
    return each.package, each.version, names, severity(each), mended, name_locks(project, each.locks)
