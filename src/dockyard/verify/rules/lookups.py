"""Rules on what programs look for while they run, and only then miss: libraries, the locale of their environment."""

import re
from collections.abc import Iterator

from dockyard.verify.model import Case, Rule, Scope, Violation

MISSING = "/usr/share/dockyard/missing/"
"""Where a build writes down, a file for each layer, which libraries are nowhere: see payload/missing.py."""

LOCALES = "/usr/lib/locale/"


def libraries(case: Case) -> Iterator[Violation]:
    """Find programs and modules that need a library which the build found nowhere, and no later layer brings."""
    present = {entry.name for entry in case.facts.files.values() if ".so" in entry.name}
    for entry in case.facts.files.values():
        if entry.kind == "file" and entry.path.startswith(MISSING):
            for line in entry.data.decode("utf-8", "replace").splitlines():
                path, library, where = (*line.split("\t"), "", "")[:3]
                if path in case.facts.files and library not in present:
                    told = f"; {where}" if where else ""
                    yield Violation(
                        f"{path} needs {library}, which is missing{told}", path, case.facts.files[path].layer
                    )


def locales(case: Case) -> Iterator[Violation]:
    """Find locales that the environment names and the C library, where it is glibc, has not."""
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


RULES = (
    Rule(
        "linked-libraries",
        "every program and module finds the shared libraries that it is linked to",
        libraries,
        "install the Debian package that has it in the base stage of the Dockerfile, and build again",
        Scope.SERVICE,
    ),
    Rule(
        "locale",
        "the locale that the environment names is there",
        locales,
        "give the base stage the same ENV and, but for C.UTF-8, the locale: the runtime takes it from there",
        Scope.SERVICE,
    ),
)
