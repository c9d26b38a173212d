"""`invoke verify`, `reproduce` and `audit`: an image held against the policy, built anew, and its locks looked up."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockyard import console
from dockyard.errors import DockyardError
from dockyard.tasks.boundary import settings, task

if TYPE_CHECKING:
    from dockyard.image.record_types import AuditRecord
    from dockyard.locks.audit import Audit
    from dockyard.settings import Settings

SHORT = 19
"""Of a digest, so much is enough to find it: sha256: and twelve digits."""
MEASURED = ("rules", "broken", "to pull", "first answer", "memory", "stop")
ROWS = 40
"""So many differences are shown; `--json` has all of them."""
MOST_AUDITED = 1000


@task(help={"image": "an image by its reference instead: it is held to the policy, but not to this commit"})
def verify(
    target: str = "production",
    python: str = "",
    image: str = "",
    json: bool = False,
    sarif: str = "",
    junit: str = "",
) -> None:
    """Check a built image against the policy without trusting its Dockerfile; exit 1 with violations."""
    from dockyard.verify.model import ImageQuery
    from dockyard.verify.verify import verify_image

    tell_report(verify_image(settings(), ImageQuery(target, python, image)), json=json, sarif=sarif, junit=junit)


def tell_report(found: Any, *, json: bool = False, sarif: str = "", junit: str = "") -> None:
    """Print what was found in an image and write it to files; raise DockyardError where it breaks the policy."""
    from dockyard.verify import output

    if sarif:
        output.write_report(Path(sarif), output.format_sarif(found))
    if junit:
        output.write_report(Path(junit), output.format_junit(found))
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
    verdict, facts, trial = found.verdict, found.case.facts, found.case.trial
    for title, findings in (("violations", verdict.violations), ("accepted in [tool.dockyard]", verdict.accepted)):
        rows = []
        for finding in findings:
            more = f"accepted: {finding.accepted}" if finding.accepted else f"tip: {finding.hint}"
            where = f"{finding.instruction[:60]}\n{finding.layer[:SHORT]}".strip()
            rows.append((finding.rule, f"{finding.message}\n{more}", where))
        if rows:
            console.table(("rule", "what", "from"), rows, title=title)
    for key in verdict.unused:
        console.log.warning(f"allow in [tool.dockyard]: {key} accepts nothing any more: take it out")
    summary = (
        f"{found.image}\n{(facts.manifest or facts.digest)[:SHORT]}",
        len(verdict.checked),
        len({finding.rule for finding in verdict.violations}),
        console.size(facts.size),
        f"{trial.answer:.2f} s" if trial.answer is not None else "-",
        console.size(trial.memory) if trial.memory is not None else "-",
        f"{trial.stop:.1f} s" if trial.stop is not None else "-",
    )
    console.table(("image", *MEASURED), [summary], right=MEASURED)


@task(help={"image": "an image that the engine has, by its reference instead, such as one that was pulled"})
def reproduce(target: str = "production", python: str = "", image: str = "", json: bool = False) -> None:
    """Build an image anew without cache and compare: exit 1 and name each file that differs, and how."""
    from dockyard.verify.model import ImageQuery
    from dockyard.verify.reproduce import reproduce_image

    tell_outcome(reproduce_image(settings(), ImageQuery(target, python, image)), json=json)


def tell_outcome(outcome: Any, *, json: bool = False) -> None:
    """Print how a comparison went; raise DockyardError where the images differ."""
    from dockyard.verify.compare import suggest_hint
    from dockyard.verify.reproduce import summarize

    if json:
        console.as_json(vars(outcome))
    elif outcome.verdict == "different":
        print_differences(outcome)
    else:
        print(summarize(outcome))
    if outcome.verdict == "different":
        advice = "build from the same inputs: see above" if outcome.notes else suggest_hint(outcome.differences)
        raise DockyardError(summarize(outcome), advice)
    console.log.info(f"built and compared in {console.duration(outcome.seconds)}")


def print_differences(outcome: Any) -> None:
    """Print the table of differences, and then how each text differs."""

    def shorten(text: str) -> str:
        text = text.replace(" # buildkit", "")
        return text if len(text) <= 60 else f"{text[:60]}…"

    count = len(outcome.differences)
    rows = []
    for each in outcome.differences[:ROWS]:
        where = f"{each.layer}: {shorten(each.instruction)}" if each.layer else "configuration"
        rows.append((where, each.path or "-", each.how, shorten(each.before) or "-", shorten(each.after) or "-"))
    title = f"{outcome.image}: {count} difference{'s' if count > 1 else ''}"
    console.table(("layer", "file or setting", "differs in", "existing", "rebuilt"), rows, title=title)
    if count > ROWS:
        console.log.info(f"and {count - ROWS} more: --json shows them all")
    for each in outcome.differences[:ROWS]:
        if each.diff:
            print("\n".join((f"{each.path}:", *(f"  {line}" for line in each.diff))))


@task()
def audit(json: bool = False, sarif: str = "") -> None:
    """Look for known vulnerabilities in every lock; exit 1 with one that is not accepted, or without an answer."""
    from dockyard.image.records import record_run
    from dockyard.locks.audit import audit_locks

    project = settings()
    with record_run(project, "audit") as recording:
        with recording.step("look up every package"):
            found = audit_locks(project, datetime.now(UTC).date())
        recording.details["audit"] = describe_audit(found)
        count = sum(each.counts for each in found.findings)
        known = f"{count} known {'vulnerability' if count == 1 else 'vulnerabilities'}"
        if count:
            recording.failed = True
            recording.details["error"] = known
    if sarif:
        from dockyard.verify.output import format_audit_sarif, write_report

        write_report(Path(sarif), format_audit_sarif(found))
    if json:
        console.as_json({**vars(found), "counting": count})
    else:
        print_vulnerabilities(project, found)
    for each in found.findings:
        if each.acceptance and each.expired:
            ended = f"{each.acceptance.until} ({each.acceptance.reason})"
            console.log.warning(f"{each.id} of {each.package} counts again: it was accepted until {ended}")
    for key in found.unused:
        console.log.warning(f"accept-vulnerabilities in [tool.dockyard]: {key} accepts nothing any more: take it out")
    if count:
        raise DockyardError(
            f"{known} in the locks",
            "`invoke lock --upgrade-package NAME` takes the version that mends one; "
            "`accept-vulnerabilities` in [tool.dockyard] accepts one until a day",
        )
    console.log.info(f"{found.asked} packages looked up: no known vulnerability that is not accepted")


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
    from dockyard.tasks.lock import name_locks

    columns = ("package", "version", "id", "severity")
    counting, accepted = [], []
    for each in found.findings:
        severity = each.severity if each.score is None else f"{each.severity} {each.score:.1f}"
        if each.acceptance and not each.counts:
            until = f"until {each.acceptance.until}: {each.acceptance.reason}"
            accepted.append((each.package, each.version, each.id, severity, until))
            continue
        names, mended = "\n".join((each.id, *each.aliases)), ", ".join(each.mended_in) or "nothing yet"
        counting.append((each.package, each.version, names, severity, mended, name_locks(project, each.locks)))
    if counting:
        console.table((*columns, "mended in", "locks"), counting)
    if accepted:
        console.table((*columns, "accepted"), accepted)
