"""Nox sessions for any project: a noxfile.py that imports this module has them all.

`tests` runs in containers, on every supported Python; `pipeline` and `integration` run pytest on the host;
`lint` runs the pre-commit hooks and `types` runs mypy. Arguments after `--` reach the test runner. Where
pytest-xdist is installed, `pipeline` and `integration` use every core; `-- -n0` keeps them to one. A session whose
subject the project lacks is no part of a plain `nox`, and says so when it is asked for.
"""

import contextlib
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
from dockyard.settings import load

__all__ = ["integration", "lint", "pipeline", "tests", "types"]

PATIENCE = 60.0
"""Seconds that pytest has to end after Ctrl-C: a test that is cut off removes its containers first."""
NO_TESTS = 5
"""pytest's exit code."""
MARK = re.compile(r"\bmark\.integration\b")
MYPY = re.compile(r"^\[(?:tool\.)?mypy\]\n(?:[^\[\n].*\n|\n)*?\s*(?:files|packages|modules)\s*=", re.MULTILINE)
TARGET = re.compile(r"^\s*FROM\s.*\sAS\s+test\s*$", re.IGNORECASE | re.MULTILINE)


@nox.session(python=False)
def tests(session: nox.Session) -> None:
    """Test the app and the pipeline inside the test image of every supported Python."""
    from dockyard.process import ending_as_interrupt
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
        files = [root / name for name in ("pyproject.toml", "setup.cfg", ".mypy.ini", "mypy.ini")]
        there = any(MYPY.search(_read(file)) for file in files)
        missing = "mypy is not installed" if find_spec("mypy") is None else ""
        return missing or ("" if there else "mypy has no target: write files in [tool.mypy]")
    if session == "tests":
        file = "Dockerfile"
        with contextlib.suppress(DockyardError):  # the session says what is wrong with the settings
            file = load(root, os.environ).dockerfile
        there = bool(TARGET.search(_read(root / file)))
        return "" if there else f"the {file} has no target test, in which the tests would run"
    if find_spec("pytest") is None:
        return "pytest is not installed"
    files = list(_find_tests(root))
    if session == "integration":
        there = any(MARK.search(_read(file)) for file in files)
        return "" if there else "no test is marked with pytest.mark.integration"
    return "" if files else "there is no test file"


def _find_tests(root: Path) -> Iterator[Path]:
    """Yield the project's test files, as pytest finds them by its usual names."""
    tools: dict[str, Any] = {}
    with contextlib.suppress(tomllib.TOMLDecodeError):  # pytest says what is wrong with it
        tools = tomllib.loads(_read(root / "pyproject.toml")).get("tool", {})
    places = tools.get("pytest", {}).get("ini_options", {}).get("testpaths") or ("tests", "test", "testing")
    for place in places.split() if isinstance(places, str) else places:
        for pattern in ("test_*.py", "*_test.py"):
            yield from sorted((root / place).rglob(pattern))
    yield from sorted((*root.glob("test_*.py"), *root.glob("*_test.py")))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ""


# Nox has changed to the folder of the noxfile when this is imported.
nox.options.sessions = choose_sessions(Path.cwd())
nox.options.error_on_missing_interpreters = True
