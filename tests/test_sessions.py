"""The Nox sessions: which there are, what each runs, and how the one for the matrix ends."""

import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nox
import pytest

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


class Session:
    """A Nox session that remembers what it was told to run."""

    def __init__(self, *posargs: str) -> None:
        self.posargs = list(posargs)
        self.commands: list[tuple[str, ...]] = []
        self.options: dict[str, Any] = {}

    def run(self, *command: str, **options: Any) -> None:
        """Stand in for Session.run."""
        self.commands.append(command)
        self.options = options

    def error(self, message: str) -> None:
        """Stand in for Session.error."""
        raise Quit(message)


def call(function: Any, *posargs: str) -> Session:
    """Run a session's body and return what it was given."""
    session = Session(*posargs)
    function.func(session)
    return session


def test_the_sessions() -> None:
    """`nox` runs all of them, the quick ones first, and each has words for `nox --list`."""
    assert list(nox.options.sessions or ()) == ["lint", "types", "pipeline", "tests", "integration"]
    assert sorted(nox.options.sessions or ()) == sorted(sessions.__all__)
    for name in sessions.__all__:
        made = getattr(sessions, name)
        assert (made.python, bool(made.__doc__)) == (False, True)


def parallel(distribution: str) -> tuple[str, ...]:
    """Return the options that use every core: here pytest-xdist is installed, in the test image it is not."""
    return ("--numprocesses=auto", f"--dist={distribution}") if find_spec("xdist") else ()


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("pipeline", (PYTHON, "-m", "pytest", "-m", "not integration", *parallel("worksteal"), "-k", "x")),
        ("integration", (PYTHON, "-m", "pytest", "-m", "integration", *parallel("loadfile"), "-k", "x")),
        ("types", (PYTHON, "-m", "mypy", "-k", "x")),
        ("lint", (PYTHON, "-m", "pre_commit", "run", "--all-files", "--show-diff-on-failure", "-k", "x")),
    ],
)
def test_a_session_on_the_host(name: str, command: tuple[str, ...]) -> None:
    """One command, with the Python that runs Nox; arguments after -- come last."""
    assert call(getattr(sessions, name), "-k", "x").commands == [command]


@pytest.mark.parametrize("name", ["pipeline", "integration"])
def test_an_interrupted_session_has_time_to_clean_up(name: str) -> None:
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
    (tmp_path / "pyproject.toml").write_text('[tool.dockyard]\napp = "shop:app"\nimage = "shop"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(testing, "run_matrix", made.run)
    monkeypatch.setattr(testing, "combine_coverage", lambda _root, _outcomes: 97.46)
    return made


def test_tests(matrix: Matrix, capsys: pytest.CaptureFixture[str]) -> None:
    """A summary with every Python and the coverage of all of them together."""
    call(sessions.tests, "-k", "health")
    out = capsys.readouterr().out
    assert matrix.arguments == ["-k", "health"]
    assert "coverage of all Pythons together: 97.5 %" in out
    assert "NOT TESTED: nobody ships it" in out
    assert "passed" in out


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
