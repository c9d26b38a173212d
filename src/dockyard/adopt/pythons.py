"""Find the Python that the project runs on (pure)."""

import re
from collections.abc import Iterator

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import compatible_tags, cpython_tags, parse_tag
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from dockyard.adopt.commands import read_stages
from dockyard.adopt.dependencies import poetry_versions
from dockyard.adopt.model import Dependencies, Found, Overrides
from dockyard.adopt.snapshot import Snapshot
from dockyard.errors import DockyardError, UsageError

PREFERRED = ("3.13", "3.12", "3.11", "3.14", "3.15")
"""Pythons that images can be made on, the best first: old enough that every package has wheels for it."""

FITTING = {
    "aiohttp": {"3.12": "3.9.0", "3.13": "3.10.6"},
    "asyncpg": {"3.12": "0.29.0", "3.13": "0.30.0"},
    "cffi": {"3.12": "1.16.0", "3.13": "1.17.0"},
    "django": {"3.12": "4.2", "3.13": "4.2"},
    "gevent": {"3.13": "24.10.1"},
    "greenlet": {"3.12": "3.0.0", "3.13": "3.1.0"},
    "grpcio": {"3.12": "1.59.0", "3.13": "1.66.2"},
    "lxml": {"3.12": "4.9.3", "3.13": "5.3.0"},
    "matplotlib": {"3.12": "3.8.0", "3.13": "3.9.2"},
    "numpy": {"3.12": "1.26.0", "3.13": "2.1.0"},
    "orjson": {"3.12": "3.9.7", "3.13": "3.10.7"},
    "pandas": {"3.12": "2.1.1", "3.13": "2.2.3"},
    "pillow": {"3.12": "10.1.0", "3.13": "10.4.0"},
    "psycopg2-binary": {"3.12": "2.9.9", "3.13": "2.9.10"},
    "pydantic": {"3.12": "2.4.0", "3.13": "2.8.0"},
    "pyyaml": {"3.12": "6.0.1", "3.13": "6.0.2"},
    "scipy": {"3.12": "1.11.2", "3.13": "1.14.1"},
    "shapely": {"3.12": "2.0.2", "3.13": "2.0.6"},
    "sqlalchemy": {"3.13": "2.0.31"},
    "uvloop": {"3.12": "0.19.0", "3.13": "0.21.0"},
}
"""The first version of a package that a Python can have: with a wheel, for no image has a compiler, and that runs."""


def detect_python(snapshot: Snapshot, overrides: Overrides, dependencies: Dependencies) -> Found[str]:
    """Return the Python to ship on: one that the project names, or the best that it and its pins allow."""
    told = overrides.find("python", snapshot.settings)
    if told and told.value in PREFERRED:
        return told
    if told and told.source == "--python":
        raise UsageError(f"--python {told.value} is not supported", f"supported: {', '.join(PREFERRED)}")
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
    lacking: list[str] = []
    for best in allowed:
        if not (package := _without_wheel(snapshot, dependencies, best)):
            break
        lacking.append(f"{package} is not made for {best}")
    else:
        best, lacking = allowed[0], lacking[:1]
    others = tuple(python for python in allowed if python != best)
    source = source or "the newest that most packages have wheels for"
    return Found(best, "; ".join((source, *lacking)) + older, others)


def _without_wheel(snapshot: Snapshot, dependencies: Dependencies, python: str) -> str:
    """Return a package whose wheels, by the project's lock or by the table, are for other Pythons only, or ''."""
    abi, number = f"cp{python.replace('.', '')}", tuple(map(int, python.split(".")))
    known = (*cpython_tags(number, [abi], ["any"]), *compatible_tags(number, platforms=["any"]))
    fitting = {(one.interpreter, one.abi) for one in known}
    for name, files in _locked_wheels(snapshot):
        tags = [one for file in files for one in parse_tag("-".join(file.removesuffix(".whl").split("-")[-3:]))]
        linux = {(one.interpreter, one.abi) for one in tags if one.platform == "any" or "manylinux" in one.platform}
        if linux and linux.isdisjoint(fitting):
            return name
    asked = {name: said for name, _, said in (pin.partition("==") for pin in dependencies.constraints)}
    for name, table in FITTING.items():
        first = next((version for since, version in reversed(table.items()) if since <= python), "")  # all are 3.1x
        said = f"=={asked[name]}" if name in asked else dependencies.specifiers.get(name, "")
        if first and said and not _reaches(SpecifierSet(said), first):
            return f"{name} {said}"
    return ""


def _locked_wheels(snapshot: Snapshot) -> Iterator[tuple[str, list[str]]]:
    """Yield the wheels of each package that a lock names; one of two versions is for another Python already."""
    for lock in ("uv.lock", "poetry.lock", "pdm.lock"):
        found: dict[str, list[str]] = {}
        for one in snapshot.toml(lock).get("package", ()):
            entries = [*one.get("wheels", ()), *one.get("files", ())]
            files = [str(entry.get("file") or entry.get("url", "")).rpartition("/")[2] for entry in entries]
            found.setdefault(canonicalize_name(one.get("name", "")), []).extend(
                file for file in files if file.endswith(".whl")
            )
        yield from found.items()


def _reaches(asked: SpecifierSet, first: str) -> bool:
    """Return whether some version that is asked for is the first that has a wheel, or a later one."""
    if asked.contains(first):
        return True
    try:
        return any(
            Version(one.version.removesuffix(".*")) >= Version(first) for one in asked if one.operator[0] in "=>~"
        )
    except InvalidVersion:
        return True


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
