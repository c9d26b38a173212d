"""The Nox sessions: which there are, what each runs, and how the one for the matrix ends."""

import logging
import signal
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from nox.command import CommandFailed

from dockyard import sessions
from dockyard.bases.resolve import Missing
from dockyard.errors import DockyardError, SettingsError
from dockyard.settings import Settings
from dockyard.verify import matrix as testing
from dockyard.verify.matrix import Outcome

PYTHON = sys.executable
GOOD = Outcome("3.13", 10, 0, 0, 1.5, 0, "shop:test")


class Quit(Exception):
    """Nox's way to end a session with an error."""


class Skip(Exception):
    """Nox's way to leave a session out."""


class Session:
    """A Nox session that remembers what it was told to run."""

    def __init__(self, name: str, *posargs: str) -> None:
        self.name = name
        self.fails = 0
        self.posargs = list(posargs)
        self.commands: list[tuple[str, ...]] = []
        self.options: dict[str, Any] = {}

    def run(self, *command: str, **options: Any) -> None:
        """Stand in for Session.run."""
        self.commands.append(command)
        self.options = options
        if self.fails:
            raise CommandFailed(f"Returned code {self.fails}", return_code=self.fails)

    def skip(self, message: str) -> None:
        """Stand in for Session.skip."""
        raise Skip(message)

    def error(self, message: str) -> None:
        """Stand in for Session.error."""
        raise Quit(message)


def call(function: Any, *posargs: str, fails: int = 0) -> Session:
    """Run a session's body and return what it was given; `fails` is the code that its command ends with."""
    session = Session(function.func.__name__, *posargs)
    session.fails = fails
    function.func(session)
    return session


@pytest.fixture
def complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, a project with a subject for every session, and with every tool."""
    monkeypatch.setattr(sessions, "find_spec", lambda name: name != "xdist" or find_spec(name))
    (tmp_path / ".pre-commit-config.yaml").touch()
    (tmp_path / "Dockerfile").write_text("ARG X\nfrom base as test\n")
    (tmp_path / "pyproject.toml").write_text('[tool.mypy]\nfiles = ["src"]\n')
    (tmp_path / "tests" / "far").mkdir(parents=True)
    (tmp_path / "tests" / "test_near.py").touch()
    (tmp_path / "tests" / "far" / "test_far.py").write_text("pytestmark = pytest.mark.integration\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_sessions(complete: Path) -> None:
    """`nox` runs all of them, the quick ones first, and each has words for `nox --list`."""
    assert sessions.choose_sessions(complete) == ["lint", "types", "pipeline", "tests", "integration"]
    assert sorted(sessions.__all__) == sorted(sessions.choose_sessions(complete))
    for name in sessions.__all__:
        made = getattr(sessions, name)
        assert (made.python, bool(made.__doc__)) == (False, True)


def parallel(distribution: str) -> tuple[str, ...]:
    """Return the options that use every core: here pytest-xdist is installed, in the test image it is not."""
    return ("--numprocesses=auto", f"--dist={distribution}") if find_spec("xdist") else ()


def test_a_new_project_has_nothing_to_run(tmp_path: Path) -> None:
    """A session without a subject is no part of a plain `nox`."""
    assert sessions.choose_sessions(tmp_path) == []


ABSENT = {
    "lint": (".pre-commit-config.yaml", "no hook to run"),
    "types": ("pyproject.toml", "mypy has no target"),
    "tests": ("Dockerfile", "no target test"),
    "integration": ("tests/far/test_far.py", "marked with pytest.mark.integration"),
}


@pytest.mark.parametrize(("name", "file", "words"), [(name, *row) for name, row in ABSENT.items()], ids=ABSENT)
def test_a_session_without_a_subject(complete: Path, name: str, file: str, words: str) -> None:
    """It says what is missing when it is asked for, and leaves the others alone."""
    (complete / file).unlink()
    assert sessions.choose_sessions(complete) == [
        other for other in ("lint", "types", "pipeline", "tests", "integration") if other != name
    ]
    with pytest.raises(Skip, match=words):
        call(getattr(sessions, name))


def test_the_dockerfile_of_the_settings(complete: Path) -> None:
    """A project's own Dockerfile stays beside the one that Dockyard builds from, whose targets count."""
    (complete / "Dockerfile").rename(complete / "Dockerfile.dockyard")
    (complete / "Dockerfile").write_text("FROM python\n")
    assert "the Dockerfile has no target test" in sessions.explain_absence("tests", complete)
    (complete / "pyproject.toml").write_text(
        '[tool.dockyard]\napp = "shop:app"\nimage = "shop"\ndockerfile = "Dockerfile.dockyard"\n'
    )
    assert not sessions.explain_absence("tests", complete)


def test_no_test_file(complete: Path) -> None:
    """Neither in the usual folders nor at the root."""
    for file in complete.rglob("test_*.py"):
        file.unlink()
    assert sessions.choose_sessions(complete) == ["lint", "types", "tests"]
    (complete / "test_app.py").touch()
    assert "pipeline" in sessions.choose_sessions(complete)


@pytest.mark.parametrize(
    ("file", "text", "there"),
    [
        ("pyproject.toml", "[tool.mypy]\nstrict = true\n", False),
        ("pyproject.toml", '[tool.mypy]\nstrict = true\n\n# ours\npackages = "shop"\n', True),
        ("pyproject.toml", '[tool.mypy]\nstrict = true\n[tool.other]\nfiles = "shop"\n', False),
        ("mypy.ini", "[mypy]\nfiles = shop\n", True),
        ("setup.cfg", "[mypy]\nmodules = shop\n", True),
        ("setup.cfg", "[metadata]\nname = shop\n", False),
    ],
    ids=["no target", "packages", "of another tool", "mypy.ini", "setup.cfg", "another table"],
)
def test_where_mypy_finds_its_target(complete: Path, file: str, text: str, there: bool) -> None:
    """In each file that mypy reads."""
    (complete / "pyproject.toml").unlink()
    (complete / file).write_text(text)
    assert ("types" in sessions.choose_sessions(complete)) is there


@pytest.mark.parametrize("paths", ['["checks"]', '"checks more"'], ids=["list", "text"])
def test_tests_elsewhere(tmp_path: Path, paths: str) -> None:
    """Where pytest's own settings say."""
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "shop_test.py").touch()
    assert sessions.choose_sessions(tmp_path) == []
    (tmp_path / "pyproject.toml").write_text(f"[tool.pytest.ini_options]\ntestpaths = {paths}\n")
    assert sessions.choose_sessions(tmp_path) == ["pipeline"]


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("pipeline", (PYTHON, "-m", "pytest", "-m", "not integration", *parallel("worksteal"), "-k", "x")),
        ("integration", (PYTHON, "-m", "pytest", "-m", "integration", *parallel("loadfile"), "-k", "x")),
        ("types", (PYTHON, "-m", "mypy", "-k", "x")),
        ("lint", (PYTHON, "-m", "pre_commit", "run", "--all-files", "--show-diff-on-failure", "-k", "x")),
    ],
)
def test_a_session_on_the_host(complete: Path, name: str, command: tuple[str, ...]) -> None:
    """One command, with the Python that runs Nox; arguments after -- come last."""
    assert call(getattr(sessions, name), "-k", "x").commands == [command]


@pytest.mark.parametrize(
    ("posargs", "code", "ending", "words"),
    [
        ((), 5, Skip, "every test is left out by -m 'not integration'"),
        (("-k", "x"), 5, CommandFailed, "Returned code 5"),
        ((), 1, CommandFailed, "Returned code 1"),
    ],
)
def test_how_pytest_ends(
    complete: Path, posargs: tuple[str, ...], code: int, ending: type[Exception], words: str
) -> None:
    """Pytest has said why; deselected tests are no failure where nobody chose."""
    with pytest.raises(ending, match=words):
        call(sessions.pipeline, *posargs, fails=code)


@pytest.mark.parametrize("name", ["pipeline", "integration"])
def test_an_interrupted_session_has_time_to_clean_up(complete: Path, name: str) -> None:
    """Nox's own 0.3 seconds would kill pytest while it removes containers."""
    assert call(getattr(sessions, name)).options == {"interrupt_timeout": 60.0, "terminate_timeout": 60.0}


class Matrix:
    """A matrix that ends as it is told to."""

    def __init__(self) -> None:
        self.arguments: list[str] = []
        self.outcomes: tuple[Outcome, ...] = (GOOD,)
        self.ending: BaseException | None = None
        self.handler: object = None

    def run(self, _settings: Settings, arguments: list[str]) -> Any:
        """Stand in for testing.run_matrix."""
        self.arguments = arguments
        self.handler = signal.getsignal(signal.SIGTERM)
        if self.ending:
            raise self.ending
        return self.outcomes, (Missing("3.12", "nobody ships it"),)


@pytest.fixture
def matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Matrix:
    """Put a fake in the place of the matrix, in a small project."""
    made = Matrix()
    (tmp_path / "Dockerfile").write_text("FROM base AS test\n")
    (tmp_path / "pyproject.toml").write_text('[tool.dockyard]\napp = "shop:app"\nimage = "shop"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("DOCKYARD_UNTESTED_PYTHONS", "3.12")
    monkeypatch.setattr(testing, "run_matrix", made.run)
    monkeypatch.setattr(testing, "combine_coverage", lambda _root, _outcomes: 97.46)
    return made


def test_tests(matrix: Matrix, capsys: pytest.CaptureFixture[str]) -> None:
    """A summary with every Python and the coverage of all of them together."""
    call(sessions.tests, "-k", "health")
    out = capsys.readouterr().out
    assert matrix.arguments == ["-k", "health"]
    assert "coverage of all Pythons together: 97.5 %" in out
    assert "not tested, as allowed: nobody ships it" in out
    assert "passed" in out


@pytest.fixture
def twice() -> Iterator[list[logging.LogRecord]]:
    """Yield what reaches the root logger, as nox sets it up."""
    ours, heard = logging.getLogger("dockyard"), list[logging.LogRecord]()

    class Nox(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record)

    nox, before = Nox(), ours.propagate
    logging.getLogger().addHandler(nox)
    ours.propagate = True
    yield heard
    ours.propagate = before
    logging.getLogger().removeHandler(nox)


def test_progress_is_shown_once(matrix: Matrix, twice: list[logging.LogRecord]) -> None:
    """Nox prints what reaches the root logger, in its own form; Dockyard's lines must not be among it."""
    call(sessions.tests)
    logging.getLogger("dockyard.verify.matrix").warning("3.13 | 1 passed")
    assert twice == []


def test_failing_tests(matrix: Matrix, capsys: pytest.CaptureFixture[str]) -> None:
    """The summary is shown all the same, then the session fails with words."""
    matrix.outcomes = (Outcome("3.13", 9, 1, 0, 1.5, 1, "shop:test"),)
    with pytest.raises(Quit, match=r"the tests failed on Python 3\.13"):
        call(sessions.tests)
    out, err = capsys.readouterr()
    assert "FAILED" in out
    assert err.startswith("ERROR the tests failed on Python 3.13\nTIP   ")


@pytest.mark.parametrize("automatic", [True, False], ids=["in CI", "at a desk"])
def test_skipped_tests(matrix: Matrix, monkeypatch: pytest.MonkeyPatch, automatic: bool) -> None:
    """Where nobody looks, a skipped test counts as a failed one."""
    matrix.outcomes = (Outcome("3.13", 9, 0, 1, 1.5, 0, "shop:test"),)
    if not automatic:
        call(sessions.tests)
        return
    monkeypatch.setenv("CI", "true")
    with pytest.raises(Quit, match="tests were skipped"):
        call(sessions.tests)


@pytest.mark.parametrize("error", [DockyardError("no space is left", "free some"), SettingsError("a wrong key")])
def test_trouble(matrix: Matrix, capsys: pytest.CaptureFixture[str], error: DockyardError) -> None:
    """It is told in the pipeline's words, and the session fails with them."""
    matrix.ending = error
    with pytest.raises(Quit, match=error.message):
        call(sessions.tests)
    assert capsys.readouterr().err.startswith(f"ERROR {error.message}\n")


def test_wrong_settings(matrix: Matrix) -> None:
    """A mistake in pyproject.toml is told like any other trouble."""
    Path("pyproject.toml").write_text("[tool.dockyard]\nap = 1\n")
    with pytest.raises(Quit, match="ap"):
        call(sessions.tests)


def test_an_end_signal_is_an_interrupt(matrix: Matrix) -> None:
    """A cancelled job takes its containers along: while they run, SIGTERM does not simply end Nox."""
    call(sessions.tests)
    assert callable(matrix.handler)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    matrix.ending = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        call(sessions.tests)
