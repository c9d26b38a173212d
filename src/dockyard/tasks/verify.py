"""`invoke verify`, `reproduce` and `audit`: an image held against the policy, built anew, and its locks looked up."""

import dataclasses
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.context import Context

from dockyard import console
from dockyard.errors import DockyardError
from dockyard.tasks.boundary import settings, task

if TYPE_CHECKING:
    from dockyard.image.records import AuditRecord
    from dockyard.locks.audit import Audit, Finding
    from dockyard.settings import Settings

log = logging.getLogger(__name__)

SHORT = 19
"""Of a digest, so much is enough to find it: sha256: and twelve digits."""


@task(
    help={
        "target": "the target whose newest image is meant (default: production)",
        "python": "the Python whose newest image is meant (default: the settings' python)",
        "image": "an image by its reference instead: it is held to the policy, but not to this commit",
        "json": "print the result as JSON",
        "sarif": "write the result to this file as SARIF 2.1.0 too, for code scanning",
        "junit": "write the result to this file as JUnit's XML too, for a CI's test report",
    },
)
def verify(
    _context: Context,
    target: str = "production",
    python: str = "",
    image: str = "",
    json: bool = False,
    sarif: str = "",
    junit: str = "",
) -> None:
    """Check a built image against the policy without trusting its Dockerfile; exit 1 with violations."""
    from dockyard.verify import output
    from dockyard.verify.model import ImageQuery
    from dockyard.verify.verify import verify_image

    found = verify_image(settings(), ImageQuery(target, python, image))
    if sarif:
        output.write_sarif(Path(sarif), output.format_sarif(found))
    if junit:
        output.write_junit(Path(junit), found)
    if json:
        console.as_json(output.format_json(found))
    else:
        print_report(found)
    count = len(found.verdict.violations)
    if count:
        raise DockyardError(
            f"{found.image} breaks the policy: {count} violation{'s' if count > 1 else ''}",
            "each row says what to do; `allow` in [tool.dockyard] accepts a finding with a reason",
        )


def print_report(found: Any) -> None:
    """Print what was found: violations, then what is accepted, then what was measured."""
    for title, rows in (
        ("violations", found.verdict.violations),
        ("accepted in [tool.dockyard]", [finding for finding in found.verdict.findings if finding.accepted]),
    ):
        if rows:
            console.table(("rule", "what", "from"), [_finding_row(finding) for finding in rows], title=title)
    for key in found.verdict.unused:
        log.warning(f"allow in [tool.dockyard]: {key} accepts nothing any more: take it out")
    console.table(
        ("image", "rules", "broken", "to pull", "first answer", "memory", "stop"), [_summary(found)], right=MEASURED
    )


MEASURED = ("rules", "broken", "to pull", "first answer", "memory", "stop")


def _finding_row(finding: Any) -> tuple[str, str, str]:
    what = f"{finding.message}\n{f'accepted: {finding.accepted}' if finding.accepted else f'tip: {finding.hint}'}"
    return finding.rule, what, f"{finding.instruction[:60]}\n{finding.layer[:SHORT]}".strip()


def _summary(found: Any) -> tuple[str, ...]:
    trial = found.trial
    broken = {finding.rule for finding in found.verdict.violations}
    return (
        f"{found.image}\n{(found.manifest or found.digest)[:SHORT]}",
        str(len(found.verdict.checked)),
        str(len(broken)),
        console.size(found.size),
        f"{trial.answer:.2f} s" if trial and trial.answer is not None else "-",
        console.size(trial.memory) if trial and trial.memory is not None else "-",
        f"{trial.stop:.1f} s" if trial and trial.stop is not None else "-",
    )


ROWS = 40
"""So many differences are shown; `--json` has all of them."""


@task(
    help={
        "target": "the target whose newest image is meant (default: production)",
        "python": "the Python whose newest image is meant (default: the settings' python)",
        "image": "an image that the engine has, by its reference instead, such as one that was pulled",
        "json": "print the result as JSON",
    },
)
def reproduce(
    _context: Context, target: str = "production", python: str = "", image: str = "", json: bool = False
) -> None:
    """Build an image anew without cache and compare: exit 1 and name each file that differs, and how."""
    from dockyard.verify.compare import Verdict, suggest_hint
    from dockyard.verify.model import ImageQuery
    from dockyard.verify.reproduce import reproduce_image, summarize

    outcome = reproduce_image(settings(), ImageQuery(target, python, image))
    if json:
        console.as_json(describe_outcome(outcome))
    else:
        print_outcome(outcome)
    if outcome.verdict is Verdict.DIFFERENT:
        advice = "build from the same inputs: see above" if outcome.notes else suggest_hint(outcome.findings)
        raise DockyardError(summarize(outcome), advice)
    log.info(f"built and compared in {console.duration(outcome.seconds)}")


def print_outcome(outcome: Any) -> None:
    """Print the one line of a good end, or the table of differences."""
    from dockyard.verify.compare import Verdict
    from dockyard.verify.reproduce import summarize

    if outcome.verdict is not Verdict.DIFFERENT:
        print(summarize(outcome))
        return
    rows = [_difference_row(finding) for finding in outcome.findings]
    title = f"{outcome.image}: {len(rows)} difference{'s' if len(rows) > 1 else ''}"
    console.table(("layer", "file or setting", "differs in", "existing", "rebuilt"), rows[:ROWS], title=title)
    if len(rows) > ROWS:
        log.info(f"and {len(rows) - ROWS} more: --json shows them all")
    for finding in outcome.findings[:ROWS]:
        if finding.diff:
            print("\n".join((f"{finding.path}:", *(f"  {line}" for line in finding.diff))))


def describe_outcome(outcome: Any) -> dict[str, Any]:
    """Return the outcome for machines."""
    return {
        **{name: getattr(outcome, name) for name in ("image", "verdict", "existing", "rebuilt", "notes", "seconds")},
        "differences": [
            {name: getattr(finding, name) for name in finding.__dataclass_fields__} for finding in outcome.findings
        ],
    }


def _difference_row(finding: Any) -> tuple[str, ...]:
    where = f"{finding.layer}: {_short(finding.instruction)}" if finding.layer else "configuration"
    return where, finding.path or "-", finding.how, _short(finding.before) or "-", _short(finding.after) or "-"


def _short(text: str, longest: int = 60) -> str:
    text = text.replace(" # buildkit", "")
    return text if len(text) <= longest else f"{text[:longest]}…"


MOST_AUDITED = 1000


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
        count = sum(each.counts for each in found.findings)
        if count:
            recording.failed = True
            recording.details["error"] = f"{count} known {'vulnerability' if count == 1 else 'vulnerabilities'}"
    if sarif:
        from dockyard.verify.output import format_sarif_log, write_sarif

        write_sarif(Path(sarif), format_sarif_log("audit", *describe_findings(found)))
    if json:
        console.as_json({**dataclasses.asdict(found), "counting": count})
    else:
        print_vulnerabilities(project, found)
    warn_of_acceptances(found)
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
            for each in found.findings[:MOST_AUDITED]
        ],
    }


def print_vulnerabilities(project: "Settings", found: "Audit") -> None:
    """Print what was found: what counts, then what is accepted and until when."""
    columns = ("package", "version", "id", "severity", "mended in", "locks")
    counting = [_vulnerability_row(project, each) for each in found.findings if each.counts]
    accepted = [
        (
            each.package,
            each.version,
            each.id,
            format_severity(each),
            f"until {each.acceptance.until}: {each.acceptance.reason}",
        )
        for each in found.findings
        if each.acceptance and not each.counts
    ]
    if counting:
        console.table(columns, counting)
    if accepted:
        console.table((*columns[:4], "accepted"), accepted)


def warn_of_acceptances(found: "Audit") -> None:
    """Say which acceptances have ended, and which accept nothing."""
    for each in found.findings:
        if each.acceptance and each.expired:
            ended = f"{each.acceptance.until} ({each.acceptance.reason})"
            log.warning(f"{each.id} of {each.package} counts again: it was accepted until {ended}")
    for key in found.unused:
        log.warning(f"accept-vulnerabilities in [tool.dockyard]: {key} accepts nothing any more: take it out")


def format_severity(each: "Finding") -> str:
    """Return a severity as a person reads it: 'high 7.5', or the word alone where there is no score."""
    return each.severity if each.score is None else f"{each.severity} {each.score:.1f}"


def _vulnerability_row(project: "Settings", each: "Finding") -> tuple[str, ...]:
    from dockyard.tasks.lock import name_locks

    names = "\n".join((each.id, *each.aliases))
    mended = ", ".join(each.mended_in) or "nothing yet"
    return each.package, each.version, names, format_severity(each), mended, name_locks(project, each.locks)
