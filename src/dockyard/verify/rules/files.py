"""Rules on files: rights that nobody needs, programs that only an intruder would use, libraries that are missing."""

import re
from collections.abc import Iterator

from dockyard.verify.model import Case, Scope, Violation, rule
from dockyard.verify.rules.distributions import find_owners

DEBIANS_OWN = ("/var/tmp", "/run/lock", "/var/lock")  # noqa: S108 - paths in the image
"""World-writable by Debian's own design, sticky, and read-only at run time: no matter but in a minimal image."""

SHELLS = re.compile(r"(?:ba|da|a|z|k|mk|c|tc|fi)?sh|busybox|toybox|rbash|sash")
PACKAGE_MANAGERS = re.compile(
    r"apt|apt-get|aptitude|dpkg|dpkg-deb|rpm|yum|dnf|microdnf|zypper|apk|pacman"
    r"|pip[0-9.]*|uvx?|conda|mamba|micromamba|poetry|pipx|easy_install|npm|gem|cargo"
)
COMPILERS = re.compile(
    r"(?:[a-z0-9_]+-linux-gnu-)?(?:gcc|g\+\+|cc|c\+\+|c[89]9|cpp|clang|clang\+\+|tcc|as|ld|gfortran)(?:-[0-9.]+)?"
    r"|cc1|cc1plus|make|rustc|javac"
)
INSTALLERS = re.compile(r".*/(?:site|dist)-packages/(?:pip|uv|setuptools)/__init__\.py|.*/ensurepip/__init__\.py")

MISSING = "/usr/share/dockyard/missing/"
"""Where a build writes down, a file for each layer, which libraries are nowhere: see payload/libraries.py."""


@rule("no-set-uid", "take the bit away in the stage that brings the file: chmod u-s,g-s FILE")
def set_uid(case: Case) -> Iterator[Violation]:
    """No file is set-uid or set-gid, or has file capabilities."""
    for entry in case.facts.files.values():
        privileged = any(name.endswith(".security.capability") for name, _ in entry.extended)
        if entry.kind == "file" and (entry.mode & 0o6000 or privileged):
            right = "set-uid" if entry.mode & 0o4000 else "set-gid" if entry.mode & 0o2000 else "file capabilities"
            yield Violation.at(entry, f"has {right} (mode {entry.mode:04o})")


@rule("no-world-writable", "chmod o-w it, or declare it: writable in [tool.dockyard]")
def world_writable(case: Case) -> Iterator[Violation]:
    """No path can be written by every user but those declared."""
    declared = case.expected.writable
    sticky = () if case.expected.scope is Scope.MINIMAL else DEBIANS_OWN
    for entry in case.facts.files.values():
        if entry.kind not in ("file", "folder", "pipe") or not entry.mode & 0o002:
            continue
        within = any(entry.path == one or entry.path.startswith(f"{one.rstrip('/')}/") for one in declared)
        if (entry.path in sticky and entry.mode & 0o1000) or within:
            continue
        yield Violation.at(entry, f"can be written by every user (mode {entry.mode:04o})")


@rule(
    "no-shell", "copy only what the service needs into the final stage; the target slim may have a shell", Scope.MINIMAL
)
def shells(case: Case) -> Iterator[Violation]:
    """There is no shell."""
    yield from _programs(case, SHELLS, "is a shell")


@rule(
    "no-package-manager",
    "copy only what the service needs into the final stage: neither apt nor pip is part of it",
    Scope.MINIMAL,
)
def package_managers(case: Case) -> Iterator[Violation]:
    """There is no package manager, Python's own included, that the lock does not ask for."""
    owners = find_owners(case)
    for violation in _programs(case, PACKAGE_MANAGERS, "is a package manager"):
        if violation.path not in owners:
            yield violation
    for entry in case.facts.files.values():
        if entry.kind == "file" and INSTALLERS.fullmatch(entry.path) and entry.path not in owners:
            yield Violation.at(entry, "belongs to a Python package that installs others")


@rule("no-compiler", "compile in an earlier stage and copy the result", Scope.MINIMAL)
def compilers(case: Case) -> Iterator[Violation]:
    """There is no compiler."""
    yield from _programs(case, COMPILERS, "is a compiler or a part of one")


@rule("linked-libraries", "install the Debian package that has it in the base stage of the Dockerfile, and build again")
def libraries(case: Case) -> Iterator[Violation]:
    """Every program and module finds the shared libraries that it is linked to.

    The build has noted which it found nowhere; a later layer may bring them.
    """
    present = {entry.name for entry in case.facts.files.values() if ".so" in entry.name}
    for entry in case.facts.files.values():
        if entry.kind == "file" and entry.path.startswith(MISSING):
            for line in entry.data.decode("utf-8", "replace").splitlines():
                path, library, where = (*line.split("\t"), "", "")[:3]
                if path in case.facts.files and library not in present:
                    said = f"needs {library}, which is missing{where and '; '}{where}"
                    yield Violation.at(case.facts.files[path], said)


def _programs(case: Case, names: re.Pattern[str], what: str) -> Iterator[Violation]:
    for entry in case.facts.files.values():
        if entry.kind in ("file", "link") and names.fullmatch(entry.name):
            real = case.facts.resolve(entry.path)
            if real and real.kind == "file" and real.mode & 0o111:
                yield Violation.at(entry, what if real.path == entry.path else f"{what}: it leads to {real.path}")
