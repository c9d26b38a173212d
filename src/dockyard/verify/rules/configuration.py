"""Rules on the configuration that an image carries: its user, its labels, its locale."""

import re
from collections.abc import Iterator

from dockyard.verify.model import Case, Scope, Violation, rule

PREFIX = "org.opencontainers.image."
REQUIRED = {
    "title": (".+", "title"),
    "created": (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", "time by RFC 3339"),
    "revision": ("(?:[0-9a-f]{40}|[0-9a-f]{64})(?:-dirty)?", "commit"),
    "base.name": (".+", "image"),
}
"""Labels that every image has, the form of each, and what it is."""
LOCALES = "/usr/lib/locale/"


@rule("non-root-user", "write USER 65532:65532 in the final stage")
def user(case: Case) -> Iterator[Violation]:
    """The image runs as a user that is given by number and is not root."""
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


@rule("labels", "`invoke build` gives an image its labels", Scope.EVERY)
def labels(case: Case) -> Iterator[Violation]:
    """The OCI labels are there, and say what the project and git say."""
    found, wanted = case.facts.labels, case.expected.labels
    for key, value in wanted.items():
        if found.get(key) != value:
            said = f"is {found[key]!r}" if key in found else "is missing"
            of_commit = key.endswith((".revision", ".created", ".version"))
            hint = "the image is of another commit: build it again" if of_commit else ""
            yield Violation(f"the label {key} {said}, but should be {value!r}", hint=hint)
    for name, (form, what) in REQUIRED.items():
        key, value = PREFIX + name, found.get(PREFIX + name, "")
        if key in wanted or (name == "revision" and not value):  # a project without git has none
            continue
        if not value:
            yield Violation(f"the label {key} is missing")
        elif not re.fullmatch(form, value):
            yield Violation(f"the label {key} is {value!r}: no {what}")


@rule("locale", "give the base stage the same ENV and, but for C.UTF-8, the locale: the runtime takes it from there")
def locales(case: Case) -> Iterator[Violation]:
    """The locale that the environment names is there.

    Only glibc keeps locales as files.
    """
    files = case.facts.files
    if not any(path.endswith("/libc.so.6") for path in files) or f"{LOCALES}locale-archive" in files:
        return
    known = {
        normalize_locale(path.removeprefix(LOCALES).partition("/")[0]) for path in files if path.startswith(LOCALES)
    }
    for variable, name in sorted(case.facts.environment.items()):
        named = variable == "LANG" or variable.startswith("LC_")
        if named and name not in ("", "C", "POSIX") and normalize_locale(name) not in known:
            yield Violation(f"the environment has {variable}={name}, but that locale is not there", LOCALES + name)


def normalize_locale(locale: str) -> str:
    """Return the name of a locale as glibc compares it: C.UTF-8 is C.utf8."""
    language, dot, rest = locale.partition(".")
    codeset, at, modifier = rest.partition("@")
    return language + dot + re.sub(r"[^a-z0-9]", "", codeset.lower()) + at + modifier
