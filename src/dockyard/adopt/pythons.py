"""Find the Python that the project runs on (pure)."""

import re
from collections.abc import Iterator

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from dockyard.adopt.commands import read_stages
from dockyard.adopt.dependencies import poetry_versions
from dockyard.adopt.model import Found, Overrides
from dockyard.adopt.snapshot import Snapshot
from dockyard.errors import DockyardError, UsageError

PREFERRED = ("3.13", "3.12", "3.11", "3.14", "3.15")
"""Pythons that images can be made on, the best first: old enough that every package has wheels for it."""


def detect_python(snapshot: Snapshot, overrides: Overrides) -> Found[str]:
    """Return the Python to ship on: one that the project names, or the best that it allows."""
    if overrides.python:
        if overrides.python not in PREFERRED:
            raise UsageError(f"--python {overrides.python} is not supported", f"supported: {', '.join(PREFERRED)}")
        return Found(overrides.python, "--python")
    allowed, source = _allowed(snapshot)
    for version, said in _exact(snapshot):
        if version in PREFERRED:
            return Found(version, said, tuple(one for one in allowed if one != version))
    if not allowed:
        raise DockyardError(
            f"no supported Python fits {source}: {', '.join(sorted(PREFERRED))} are supported",
            "widen it where the project runs on a newer one, or say --python",
        )
    older = next((f"; {version} in {said} is not supported" for version, said in _exact(snapshot)), "")
    return Found(allowed[0], (source or "the newest that most packages have wheels for") + older, allowed[1:])


def _exact(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """Yield each single version that the project names, as 3.13, and where."""
    for path, pattern in (
        (".python-version", r"^\s*(?:cpython-)?(3\.\d+)"),
        ("runtime.txt", r"python-?(3\.\d+)"),
        (".tool-versions", r"^python\s+(3\.\d+)"),
        ("Pipfile", r"^python_(?:full_)?version\s*=\s*[\"'](3\.\d+)"),
    ):
        found = re.search(pattern, snapshot.text(path), re.MULTILINE)
        if found:
            yield found[1], path
    for stage in read_stages(snapshot):
        if found := re.search(r"\bpython:(3\.\d+)", stage.base):
            yield found[1], "Dockerfile"
            return


def _allowed(snapshot: Snapshot) -> tuple[tuple[str, ...], str]:
    document = snapshot.toml("pyproject.toml")
    poetry = document.get("tool", {}).get("poetry", {})
    said = document.get("project", {}).get("requires-python", "")
    source = "requires-python in pyproject.toml"
    if not said and isinstance(poetry.get("dependencies", {}).get("python"), str):
        said, source = poetry_versions(poetry["dependencies"]["python"]), "python in [tool.poetry.dependencies]"
    if not said:
        found = re.search(
            r"python_requires\s*=\s*[\"']?([^\"'\n]+)", snapshot.text("setup.cfg") + snapshot.text("setup.py")
        )
        said, source = (found[1].strip(), "python_requires of the setup file") if found else ("", "")
    if not said:
        return PREFERRED, ""
    try:
        specifier = SpecifierSet(said)
    except InvalidSpecifier:
        return PREFERRED, ""
    # A late patch release stands for each: ">=3.13.2" allows 3.13.
    return tuple(python for python in PREFERRED if specifier.contains(f"{python}.99")), f"{source}: {said}"
