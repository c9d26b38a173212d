"""Nox sessions for any project: a noxfile.py that imports this module has them all.

`tests` runs in containers, on every supported Python; `pipeline` and `integration` run pytest on the host;
`lint` runs the pre-commit hooks and `types` runs mypy. Arguments after `--` reach the test runner. Where
pytest-xdist is installed, `pipeline` and `integration` use every core; `-- -n0` keeps them to one. A session whose
subject the project lacks is no part of a plain `nox`, and says so when it is asked for.
"""

import configparser
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nox
from nox.command import CommandFailed

from dockyard import console
from dockyard.errors import DockyardError

__all__ = ["integration", "lint", "pipeline", "tests", "types"]

PATIENCE = 60.0
"""Seconds that pytest has to end after Ctrl-C: a test that is cut off removes its containers first."""
BAD_OPTIONS, NO_TESTS = 4, 5
"""Exit codes of pytest."""
MARK = re.compile(r"\bmark\.integration\b")
TARGET = re.compile(r"^\s*FROM\s.*\sAS\s+test\s*$", re.IGNORECASE | re.MULTILINE)


@nox.session(python=False)
def tests(session: nox.Session) -> None:
    """Test the app and the pipeline inside the test image of every supported Python."""
    from dockyard.process import ending_as_interrupt
    from dockyard.settings import load
    from dockyard.verify import matrix

    _require_subject(session)
    console.show_progress()
    try:
        settings = load(Path.cwd(), os.environ)
        with ending_as_interrupt():
            matrix.run_tests(settings, session.posargs, forbid_skips=bool(os.environ.get("CI")))
    except DockyardError as error:
        console.error(error.message, error.hint)
        session.error(error.message)


@nox.session(python=False)
def pipeline(session: nox.Session) -> None:
    """Run the unit tests on the host's Python; they need no engine."""
    _run_pytest(session, "not integration", "worksteal")


@nox.session(python=False)
def integration(session: nox.Session) -> None:
    """Run the tests that need a real engine, registry and Compose."""
    _run_pytest(session, "integration", "loadfile")  # what a file's tests share, an image or an index, is made once


@nox.session(python=False)
def lint(session: nox.Session) -> None:
    """Run every pre-commit hook on every file."""
    _require_subject(session)
    session.run(sys.executable, "-m", "pre_commit", "run", "--all-files", "--show-diff-on-failure", *session.posargs)


@nox.session(python=False)
def types(session: nox.Session) -> None:
    """Check the types with mypy."""
    if not session.posargs:
        _require_subject(session)
    session.run(sys.executable, "-m", "mypy", *session.posargs)


def _run_pytest(session: nox.Session, marked: str, distribution: str) -> None:
    _require_subject(session)
    parallel = ("--numprocesses=auto", f"--dist={distribution}") if find_spec("xdist") else ()
    command = (sys.executable, "-m", "pytest", "-m", marked, *parallel, *session.posargs)
    try:
        session.run(*command, interrupt_timeout=PATIENCE, terminate_timeout=PATIENCE)
    except CommandFailed as failed:
        if failed.return_code == NO_TESTS and not session.posargs:
            session.skip(f"every test is left out by -m {marked!r}")
        if failed.return_code == NO_TESTS:
            session.error(f"no test was found by -m {marked!r} and {' '.join(session.posargs)}")
        if failed.return_code == BAD_OPTIONS:
            session.error(f"pytest does not take these options: {' '.join(session.posargs) or 'those of its settings'}")
        raise


def _require_subject(session: nox.Session) -> None:
    reason = explain_absence(session.name, Path.cwd())
    if reason:
        session.skip(reason)


def choose_sessions(root: Path) -> list[str]:
    """Return the sessions that a plain `nox` runs in a project: those whose subject it has, the quick ones first."""
    return [name for name in ("lint", "types", "pipeline", "tests", "integration") if not explain_absence(name, root)]


def explain_absence(session: str, root: Path) -> str:
    """Return why a session has nothing to do in a project, or ''."""
    if session == "lint":
        there = (root / ".pre-commit-config.yaml").is_file()
        return "" if there else "there is no .pre-commit-config.yaml, so no hook to run"
    if session == "types":
        return _explain_no_types(root)
    if session == "tests":
        settings = _read_table(root).get("dockyard", {})
        named = os.environ.get("DOCKYARD_DOCKERFILE") or (
            settings.get("dockerfile") if isinstance(settings, dict) else ""
        )
        file = named if isinstance(named, str) and named else "Dockerfile"
        there = bool(TARGET.search(_read(root / file)))
        return "" if there else f"the {file} has no target test, in which the tests would run"
    if find_spec("pytest") is None:
        return "pytest is not installed"
    files = list(_find_tests(root))
    if session == "integration":
        there = any(MARK.search(_read(file)) for file in files)
        return "" if there else "no test is marked with pytest.mark.integration"
    return "" if files else "there is no test file"


def _explain_no_types(root: Path) -> str:
    if find_spec("mypy") is None:
        return "mypy is not installed"
    table = _read_table(root).get("mypy", {})
    parser = configparser.RawConfigParser(strict=False)
    try:
        for name in ("setup.cfg", ".mypy.ini", "mypy.ini"):
            parser.read_string(_read(root / name))
    except configparser.Error:
        return ""  # mypy tells better what is wrong with it
    keys = {*table, *(parser["mypy"] if parser.has_section("mypy") else ())}
    return "" if keys & {"files", "packages", "modules"} else "mypy has no target: write files in [tool.mypy]"


def _find_tests(root: Path) -> Iterator[Path]:
    """Yield the project's test files, as pytest finds them by its usual names."""
    options = _read_table(root).get("pytest", {}).get("ini_options", {})
    places = options.get("testpaths") or ("tests", "test", "testing")
    for place in places.split() if isinstance(places, str) else places:
        for pattern in ("test_*.py", "*_test.py"):
            yield from sorted((root / place).rglob(pattern))
    yield from sorted((*root.glob("test_*.py"), *root.glob("*_test.py")))


def _read_table(root: Path) -> dict[str, Any]:
    try:
        return dict(tomllib.loads(_read(root / "pyproject.toml")).get("tool", {}))
    except tomllib.TOMLDecodeError:
        return {}  # whoever needs it says what is wrong with it


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ""


# Nox has changed to the folder of the noxfile when this is imported.
nox.options.sessions = choose_sessions(Path.cwd())
nox.options.error_on_missing_interpreters = True
