"""Describe an audit for SARIF 2.1.0: one result a vulnerability, at the line of every lock that has it (pure)."""

from hashlib import sha256
from typing import Any

from dockyard.locks.audit.assess import Audit, Finding

LEVELS = {"critical": "error", "high": "error", "medium": "warning", "low": "note", "none": "note"}


def describe_findings(found: Audit) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rules and results of an audit for a SARIF log; what is accepted is suppressed, with the reason."""
    rules = {each.id: _rule(each) for each in found.findings}
    order = list(rules)
    return list(rules.values()), [_result(each, order.index(each.id)) for each in found.findings]


def _rule(finding: Finding) -> dict[str, Any]:
    score = {} if finding.score is None else {"security-severity": f"{finding.score:.1f}"}
    return {
        "id": finding.id,
        "shortDescription": {"text": finding.summary or f"{finding.id} in {finding.package}"},
        "help": {"text": "`invoke lock --upgrade-package NAME` takes the version that mends it."},
        "defaultConfiguration": {"level": _level(finding)},
        "properties": {"tags": ["security"], **score},
    }


def _result(finding: Finding, index: int) -> dict[str, Any]:
    mended = f"mended in {', '.join(finding.mended_in)}" if finding.mended_in else "no version mends it yet"
    names = ", ".join((finding.id, *finding.aliases))
    places = zip(finding.locks, finding.lines, strict=True)
    result = {
        "ruleId": finding.id,
        "ruleIndex": index,
        "level": _level(finding),
        "message": {"text": f"{finding.package} {finding.version}: {names}, {finding.severity}; {mended}."},
        "locations": [
            {"physicalLocation": {"artifactLocation": {"uri": path}, "region": {"startLine": line}}}
            for path, line in places
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


def _level(finding: Finding) -> str:
    """Return SARIF's word; what nobody has rated is a warning."""
    return LEVELS.get(finding.severity, "warning")
