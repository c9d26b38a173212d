"""Nox sessions for any project: a noxfile.py that imports this module has them all.

`tests` runs in containers, on every supported Python; `pipeline` and `integration` run pytest on the host;
`lint` runs the pre-commit hooks and `types` runs mypy. Arguments after `--` reach the test runner. Where
pytest-xdist is installed, `pipeline` and `integration` use every core; `-- -n0` keeps them to one.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import nox

from dockyard import console
from dockyard.errors import DockyardError

__all__ = ["integration", "lint", "pipeline", "tests", "types"]

nox.options.sessions = ["lint", "types", "pipeline", "tests", "integration"]
nox.options.error_on_missing_interpreters = True

PATIENCE = 60.0
"""Seconds that pytest has to end after Ctrl-C: a test that is cut off removes its containers first."""


@nox.session(python=False)
def tests(session: nox.Session) -> None:
    """Test the app and the pipeline inside the test image of every supported Python."""
    from dockyard.process import ending_as_interrupt
    from dockyard.settings import load
    from dockyard.verify import matrix

    console.show_progress()
    try:
        settings = load(Path.cwd(), os.environ)
        with ending_as_interrupt():
            outcomes, missing = matrix.run_matrix(settings, session.posargs)
        coverage = matrix.combine_coverage(settings.root, outcomes)
        columns = ("Python", "tests", "passed", "failed", "skipped", "time")
        title = f"coverage of all Pythons together: {coverage:.1f} %" if coverage is not None else ""
        console.table(columns, matrix.rows(outcomes, missing), title=title, right=columns[2:])
        matrix.judge(outcomes, forbid_skips=bool(os.environ.get("CI")))
    except DockyardError as error:
        console.error(error.message, error.hint)
        session.error(error.message)


@nox.session(python=False)
def pipeline(session: nox.Session) -> None:
    """Run the unit tests on the host's Python; they need no engine."""
    _pytest(session, "not integration", "worksteal")


@nox.session(python=False)
def integration(session: nox.Session) -> None:
    """Run the tests that need a real engine, registry and Compose."""
    _pytest(session, "integration", "loadfile")  # what a file's tests share, an image or an index, is made once


@nox.session(python=False)
def lint(session: nox.Session) -> None:
    """Run every pre-commit hook on every file."""
    session.run(sys.executable, "-m", "pre_commit", "run", "--all-files", "--show-diff-on-failure", *session.posargs)


@nox.session(python=False)
def types(session: nox.Session) -> None:
    """Check the types with mypy."""
    session.run(sys.executable, "-m", "mypy", *session.posargs)


def _pytest(session: nox.Session, marked: str, distribution: str) -> None:
    parallel = ("--numprocesses=auto", f"--dist={distribution}") if find_spec("xdist") else ()
    command = (sys.executable, "-m", "pytest", "-m", marked, *parallel, *session.posargs)
    session.run(*command, interrupt_timeout=PATIENCE, terminate_timeout=PATIENCE)
