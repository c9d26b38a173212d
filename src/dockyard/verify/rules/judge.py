"""Hold the facts of an image against a policy: what an image must be like before it leaves (pure).

A rule takes a Case and yields Violations; here all rules that an image is held to are asked.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from dockyard.errors import SettingsError
from dockyard.settings import suggest_nearest
from dockyard.verify.model import Case, Finding, Rule, Scope, Verdict, Violation
from dockyard.verify.rules import bytecode, configuration, distributions, files, runtime, secrets

ROOMS = (configuration, files, secrets, bytecode, distributions, runtime)
RULES = tuple(value for room in ROOMS for value in vars(room).values() if isinstance(value, Rule))
"""Every rule, in the order of the reports: that in which they are written."""


def judge_image(case: Case, *, allow: Mapping[str, str] | None = None) -> Verdict:
    """Return what all rules say of an image.

    `allow` maps a rule, or rule:pattern for the paths that match, to the reason why its findings are accepted.
    """
    accepted = allow or {}
    found: list[Finding] = []
    asked = [rule for rule in RULES if applies(rule, case)]
    for rule in asked:
        found += [_finding(rule, violation, case, accepted) for violation in rule.check(case)]
    useful = {key for finding in found for key in accepted if covers(key, finding.rule, finding.path)}
    names = {rule.id for rule in asked}
    unused = tuple(key for key in accepted if key not in useful and key.partition(":")[0] in names)
    return Verdict(tuple(rule.id for rule in asked), tuple(found), unused)


def refuse_unknown_rules(allow: Iterable[str]) -> None:
    """Raise SettingsError where an acceptance names no rule: a misspelt one would silently accept nothing."""
    known = [rule.id for rule in RULES]
    for key in allow:
        name = key.partition(":")[0]
        if name not in known:
            raise SettingsError(f"allow in [tool.dockyard]: {key}: there is no such rule", suggest_nearest(name, known))


def applies(rule: Rule, case: Case) -> bool:
    """Say whether an image is held to a rule: by its target, and whether there was a trial where the rule needs one."""
    wider = list(Scope)  # each holds for the images of those behind it too
    return wider.index(rule.scope) <= wider.index(case.expected.scope) and (case.trial.port > 0 or not rule.runs)


def covers(key: str, rule: str, path: str) -> bool:
    """Say whether an acceptance is for a finding: `rule` for all of a rule, `rule:pattern` for the paths that match."""
    name, colon, pattern = key.partition(":")
    return name == rule and (not colon or fnmatchcase(path, pattern))


def _finding(rule: Rule, violation: Violation, case: Case, allow: Mapping[str, str]) -> Finding:
    index = violation.layer
    layer = case.facts.layers[index] if index is not None and index < len(case.facts.layers) else None
    return Finding(
        rule=rule.id,
        severity=rule.severity,
        message=violation.message,
        hint=violation.hint or rule.hint,
        path=violation.path,
        layer=layer.diff_id if layer else "",
        instruction=layer.instruction if layer else "",
        accepted=next((reason for key, reason in allow.items() if covers(key, rule.id, violation.path)), ""),
    )
