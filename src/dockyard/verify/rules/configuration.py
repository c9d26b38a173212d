"""Rules on the configuration that an image carries: its user, its labels."""

import re
from collections.abc import Iterator
from datetime import datetime

from dockyard.verify.model import Case, Rule, Scope, Violation

PREFIX = "org.opencontainers.image."
REQUIRED = ("title", "created", "revision", "base.name")
REVISION = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})(?:-dirty)?")


def user(case: Case) -> Iterator[Violation]:
    """Find an image that runs as root, or whose user an orchestrator cannot tell from root."""
    named = str(case.facts.settings.get("User") or "")
    account, _, group = named.partition(":")
    if not named:
        yield Violation("the image has no USER: it runs as root")
    elif not account.isdecimal():
        yield Violation(f"USER is {named!r}: a name, which an orchestrator cannot tell from root and so refuses")
    elif int(account) == 0:
        yield Violation(f"USER is {named!r}: root")
    elif group and not group.isdecimal():
        yield Violation(f"USER is {named!r}: its group is a name")
    elif group and int(group) == 0:
        yield Violation(f"USER is {named!r}: its group is root's")


def labels(case: Case) -> Iterator[Violation]:
    """Compare the labels with what the project and git say."""
    found, wanted = case.facts.labels, case.expected.labels
    for key, value in wanted.items():
        if found.get(key) != value:
            said = f"is {found[key]!r}" if key in found else "is missing"
            yield Violation(f"the label {key} {said}, but should be {value!r}", hint=_hint(key))
    for name in REQUIRED:
        key = PREFIX + name
        if key in wanted:
            continue
        value = found.get(key, "")
        if not value:
            if name != "revision":  # a project without git has none
                yield Violation(f"the label {key} is missing")
        elif name == "created" and not _is_time(value):
            yield Violation(f"the label {key} is {value!r}: no time by RFC 3339")
        elif name == "revision" and not REVISION.fullmatch(value):
            yield Violation(f"the label {key} is {value!r}: no commit")


def _hint(key: str) -> str:
    of_commit = key.endswith((".revision", ".created", ".version"))
    return "the image is of another commit: build it again" if of_commit else ""


def _is_time(value: str) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


RULES = (
    Rule(
        "non-root-user",
        "the image runs as a user that is given by number and is not root",
        user,
        "write USER 65532:65532 in the final stage",
    ),
    Rule(
        "labels",
        "the OCI labels are there, and say what the project and git say",
        labels,
        "`invoke build` gives an image its labels",
        Scope.EVERY,
    ),
)
