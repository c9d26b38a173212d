"""Write a verdict in the forms that other programs read: SARIF 2.1.0, JUnit's XML, and plain JSON."""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockyard import __version__
from dockyard.errors import DockyardError
from dockyard.files import write_atomically
from dockyard.image import records
from dockyard.image.record_types import Details, PackageRecord
from dockyard.registry import documents
from dockyard.verify.model import Case, Facts, Finding, Rule, Verdict
from dockyard.verify.rules.judge import RULES

if TYPE_CHECKING:
    from dockyard.locks.audit import Audit

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
SARIF_LEVELS = {"critical": "error", "high": "error", "low": "note", "none": "note"}
"""SARIF's words for vulnerabilities; all others, and what nobody has rated, are warnings."""
MOST_FINDINGS = 200
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Report:
    """The outcome of one verify: which image, what was read and measured, what was found, the seconds it took."""

    image: str
    case: Case
    verdict: Verdict
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing was found that is not accepted."""
        return not self.verdict.violations


def describe_report(report: Report) -> Details:
    """Return what a run record holds of a report and of what was found in the image."""
    accepted, facts = report.verdict.accepted, report.case.facts
    first = [*report.verdict.violations, *accepted][:MOST_FINDINGS]
    trial = report.case.trial
    details: Details = {
        "target": report.case.expected.target,
        "python": report.case.expected.python,
        "verify": {
            "rules": len(report.verdict.checked),
            "violations": len(report.verdict.violations),
            "accepted": len(accepted),
            "start_seconds": trial.answer,
            "stop_seconds": trial.stop,
            "memory_bytes": trial.memory,
            "findings": [
                {
                    "rule": one.rule,
                    "severity": str(one.severity),
                    "message": one.message,
                    "path": one.path,
                    "accepted": one.accepted or None,
                }
                for one in first
            ],
        },
        "image": {
            "reference": report.image,
            "digest": facts.manifest or facts.digest,
            "pull_bytes": facts.size,
            "packages": find_packages(facts),
        },
    }
    if not report.ok:
        rules = sorted({finding.rule for finding in report.verdict.violations})
        details["error"] = records.shorten_line(f"the image breaks {', '.join(rules)}")
    return details


def find_packages(found: Facts) -> list[PackageRecord]:
    """Return the distributions and Debian packages that an image has, by name (pure)."""
    kept = [entry for entry in found.files.values() if entry.data and documents.WANTED.fullmatch(entry.path)]
    held = documents.collect_contents([[(entry.path, entry.data) for entry in kept]])
    python = [PackageRecord(name=name, version=version, type="python") for name, version, _ in held.distributions]
    debian = ((stanza["Package"], stanza.get("Version", "")) for stanza in held.packages)
    return [*python, *(PackageRecord(name=name, version=version, type="debian") for name, version in debian)]


def format_json(report: Report) -> dict[str, Any]:
    """Return a report as `invoke verify --json` prints it."""
    facts, trial = report.case.facts, report.case.trial
    return {
        "image": report.image,
        "digest": facts.digest,
        "manifest": facts.manifest or None,
        "target": report.case.expected.target,
        "python": report.case.expected.python,
        "ok": report.ok,
        "seconds": report.seconds,
        "size_bytes": facts.size,
        "start_seconds": trial.answer,
        "memory_bytes": trial.memory,
        "stop_seconds": trial.stop,
        "rules": list(report.verdict.checked),
        "violations": [asdict(finding) for finding in report.verdict.violations],
        "accepted": [asdict(finding) for finding in report.verdict.accepted],
    }


def format_sarif(report: Report) -> dict[str, Any]:
    """Return a report as a SARIF 2.1.0 log; what is accepted is there as suppressed, with the reason."""
    facts = report.case.facts
    return format_sarif_log(
        f"verify/{report.case.expected.target}/{report.case.expected.python}",
        [_sarif_rule(rule) for rule in RULES if rule.id in report.verdict.checked],
        [_sarif_result(finding) for finding in report.verdict.findings],
        properties={"image": report.image, "digest": facts.digest, "manifest": facts.manifest},
    )


def format_audit_sarif(audit: "Audit") -> dict[str, Any]:
    """Return an audit as a SARIF 2.1.0 log: one result a vulnerability, at the line of every lock."""
    rules: dict[str, dict[str, Any]] = {}
    results = []
    for each in audit.findings:
        severity = SARIF_LEVELS.get(each.severity, "warning")
        score = {} if each.score is None else {"security-severity": f"{each.score:.1f}"}
        rules[each.id] = {
            "id": each.id,
            "shortDescription": {"text": each.summary or f"{each.id} in {each.package}"},
            "help": {"text": "`invoke lock --upgrade-package NAME` takes the version that mends it."},
            "defaultConfiguration": {"level": severity},
            "properties": {"tags": ["security"], **score},
        }
        mended = f"mended in {', '.join(each.mended_in)}" if each.mended_in else "no version mends it yet"
        accepted = each.acceptance.reason if each.acceptance and not each.counts else ""
        names = ", ".join((each.id, *each.aliases))
        places = [
            {"physicalLocation": {"artifactLocation": {"uri": path}, "region": {"startLine": line}}}
            for path, line in zip(each.locks, each.lines, strict=True)
        ]
        results.append({
            "ruleId": each.id, "level": severity,
            "message": {"text": f"{each.package} {each.version}: {names}, {each.severity}; {mended}."},
            "locations": places, **_mark(accepted, each.id, each.package, each.version),
        })  # fmt: skip
    return format_sarif_log("audit", list(rules.values()), results)


def _mark(accepted: str, *parts: str) -> dict[str, Any]:
    """Return what tells a result from others, wherever it stands, and why it is accepted where it is."""
    mark = {"partialFingerprints": {"dockyardFinding/v1": sha256("\n".join(parts).encode()).hexdigest()}}
    suppressed = [{"kind": "external", "status": "accepted", "justification": accepted}]
    return {**mark, "suppressions": suppressed} if accepted else mark


def format_sarif_log(
    category: str, rules: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]], **more: Any
) -> dict[str, Any]:
    """Return a SARIF 2.1.0 log with one run: its category keeps it apart from Dockyard's other runs on a commit."""
    driver = {"name": "dockyard", "semanticVersion": __version__, "version": __version__, "rules": [*rules]}
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"dockyard/{category}/"},
        **more,
        "results": [*results],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def format_junit(report: Report) -> ET.Element:
    """Return a report as JUnit's XML: a test case for every rule, skipped where all it found is accepted."""
    cases = [_junit_case(report, name) for name in report.verdict.checked]
    failures = sum(case.find("failure") is not None for case in cases)
    skipped = sum(case.find("skipped") is not None for case in cases)
    counts = {"tests": str(len(cases)), "failures": str(failures), "errors": "0", "skipped": str(skipped)}
    suites = ET.Element("testsuites", {"name": "dockyard verify", **counts, "time": f"{report.seconds:.3f}"})
    suite = ET.SubElement(suites, "testsuite", {"name": report.image, **counts, "time": f"{report.seconds:.3f}"})
    suite.extend(cases)
    return suites


def write_report(path: Path, document: Mapping[str, Any] | ET.Element) -> None:
    """Write JSON or XML to a file, its folder made where it is missing; raise DockyardError where that fails."""
    if isinstance(document, ET.Element):
        ET.indent(document)
        text = '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(document, encoding="unicode")
    else:
        text = json.dumps(document, indent=2, ensure_ascii=False)
    try:
        write_atomically(path, f"{text}\n")
    except OSError as error:
        raise DockyardError(
            f"{path} cannot be written: {error.strerror}", "name a file in a folder that can be written"
        ) from None


def _sarif_rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": "".join(word.capitalize() for word in rule.id.split("-")),
        "shortDescription": {"text": _sentence(rule.meaning)},
        "help": {"text": _sentence(rule.hint)},
        "defaultConfiguration": {"level": str(rule.severity)},
    }


def _sarif_result(finding: Finding) -> dict[str, Any]:
    """Return one result: viewers want a line of a file, so it is the Dockerfile's first."""
    place: dict[str, Any] = {
        "physicalLocation": {"artifactLocation": {"uri": "Dockerfile"}, "region": {"startLine": 1}}
    }
    if finding.path:
        place["logicalLocations"] = [{"fullyQualifiedName": finding.path, "kind": "resource"}]
    return {
        "ruleId": finding.rule,
        "level": str(finding.severity),
        "message": {"text": f"{_sentence(finding.message)}\n{_sentence(finding.hint)}"},
        "locations": [place],
        **_mark(finding.accepted, finding.rule, finding.path, finding.message.splitlines()[0]),
        "properties": {"layer": finding.layer, "instruction": finding.instruction},
    }


def _junit_case(report: Report, rule: str) -> ET.Element:
    case = ET.Element("testcase", {"classname": f"verify.{report.case.expected.target}", "name": rule, "time": "0"})
    found = [finding for finding in report.verdict.findings if finding.rule == rule]
    open_ones = [finding for finding in found if not finding.accepted]
    if open_ones:
        failure = ET.SubElement(case, "failure", {"type": rule, "message": _xml(open_ones[0].message.splitlines()[0])})
        layers = [f"layer: {one.layer} {one.instruction}\n" if one.layer else "" for one in open_ones]
        told = zip(open_ones, layers, strict=True)
        failure.text = _xml("\n\n".join(f"{one.message}\n{layer}tip: {one.hint}" for one, layer in told))
    elif found:
        ET.SubElement(case, "skipped", {"message": _xml(f"accepted: {found[0].accepted}")})
    return case


def _xml(text: str) -> str:
    """Return text without the characters that no XML document may hold: a log can have any."""
    return NOT_XML.sub("\ufffd", text)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
