"""Tests of bootstrap's decisions; tests/integration/test_bootstrap.py makes real environments with it."""

import ast
import errno
import importlib.machinery
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import keep_temporary_files

SCRIPT = Path(__file__).parents[1] / "bootstrap"
PYPROJECT = '[build-system]\nrequires = ["hatchling"]\n[project]\nname = "shop"\n[tool.ruff]\nline-length = 100\n'


def load() -> ModuleType:
    """Import the script, whose name has no extension."""
    loader = importlib.machinery.SourceFileLoader("bootstrap", str(SCRIPT))
    spec = importlib.util.spec_from_file_location("bootstrap", SCRIPT, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


bootstrap = load()
Failure: type[Exception] = bootstrap.Failure


@pytest.fixture
def project(tmp_path: Path) -> Any:
    """Return a project with one lock and no environment."""
    (tmp_path / "requirements" / "3.13").mkdir(parents=True)
    (tmp_path / "requirements" / "3.13" / "development.txt").write_text("flask==3.1.3 \\\n    --hash=sha256:00\n")
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    return bootstrap.Project(tmp_path, "3.13")


@pytest.fixture
def ready(project: Any) -> Any:
    """Return a project whose environment is up to date."""
    programs = project.venv / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    (project.venv / "pyvenv.cfg").touch()
    (project.venv / bootstrap.STAMP).write_bytes(b"\n".join(bootstrap.fingerprints(project)))
    return project


def replace(path: Path, before: str, after: str) -> None:
    """Change a text in a file that must have it."""
    content = path.read_text()
    assert before in content
    path.write_text(content.replace(before, after))


def test_an_old_python_can_read_it() -> None:
    """Python 3.6 parses the file, so that it can say that it is too old."""
    ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 6))


@pytest.fixture
def taken_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Return the calls of execv; PATH has Pythons 3.9, 3.12 and 3.100, which are never run."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("python3.9", "python3.12", "python3.100"):
        (programs / name).touch(0o755)
    calls: list[Any] = []
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(os, "execv", lambda *call: calls.append(call))
    return calls


@pytest.mark.host
@pytest.mark.parametrize(
    ("locks", "newest"),
    [
        (["3.11", "3.12", "3.13"], "python3.12"),
        (["3.12", "3.100"], "python3.100"),
        (["3.9", "3.12", "3.old"], "python3.12"),
    ],
    ids=["between", "by number", "oldest"],
)
def test_the_newest_python_with_a_lock_takes_over(
    locks: list[str], newest: str, tmp_path: Path, taken_over: list[Any]
) -> None:
    """A Python without a lock becomes the newest one on PATH that has a lock, with the same arguments."""
    for name in locks:
        (tmp_path / "requirements" / name).mkdir(parents=True)
        (tmp_path / "requirements" / name / "development.txt").touch()
    with pytest.raises(Failure):
        bootstrap.use_supported_python(tmp_path, ["nox", "-l"], "3.10")
    program, argv = taken_over[0]
    assert program == str(tmp_path / "programs" / newest)
    assert argv == [program, str(tmp_path / "bootstrap"), "nox", "-l"]


def test_a_python_without_a_lock_is_named(project: Any, taken_over: list[Any]) -> None:
    """The message names the Python, the hint those that would do."""
    with pytest.raises(Failure) as caught:
        bootstrap.use_supported_python(project.root, [], "3.10")
    failure: Any = caught.value
    assert "Python 3.10 " in failure.message
    assert failure.hint.endswith(": 3.13")
    assert not taken_over


def test_a_python_with_a_lock_stays(project: Any, taken_over: list[Any]) -> None:
    """A Python that has a lock runs on, whatever newer one PATH has."""
    assert bootstrap.use_supported_python(project.root, [], "3.13") == "3.13"
    assert not taken_over


def test_an_environment_of_today_is_kept(ready: Any) -> None:
    """Nothing is made anew when nothing changed."""
    assert bootstrap.find_outdated(ready) == ""


CHANGES: dict[str, tuple[Callable[[Any], object], str]] = {
    "lock": (lambda it: replace(it.lock, "3.1.3", "3.1.4"), "environment"),
    "no interpreter": (lambda it: (it.venv / "bin" / "python").unlink(), "environment"),
    "no stamp": (lambda it: (it.venv / bootstrap.STAMP).unlink(), "environment"),
    "broken stamp": (lambda it: (it.venv / bootstrap.STAMP).write_bytes(b"\xff"), "environment"),
    "moved": (lambda it: setattr(it, "root", it.root / "." / ".." / it.root.name), "environment"),
    "project": (lambda it: replace(it.root / "pyproject.toml", '"shop"', '"store"'), "project"),
    "a tool's settings": (lambda it: replace(it.root / "pyproject.toml", "100", "120"), "project"),
}


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES)
def test_a_change_makes_anew_what_depends_on_it(ready: Any, change: Callable[[Any], object], expected: str) -> None:
    """The lock, the interpreter and the place decide on the environment, pyproject.toml on the project in it."""
    change(ready)
    assert bootstrap.find_outdated(ready) == expected


def test_another_kind_of_python_makes_it_anew(ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment belongs to one minor version and build of Python."""
    monkeypatch.setattr(sys, "abiflags", "t")
    assert bootstrap.find_outdated(ready) == "environment"


def test_a_dead_link_is_no_interpreter(ready: Any) -> None:
    """A Python that was uninstalled leaves its link behind: that environment is of no use."""
    link = ready.venv / "bin" / "python"
    link.unlink()
    link.symlink_to(ready.root / "gone")
    assert bootstrap.find_outdated(ready) == "environment"


@pytest.mark.host
def test_scripts_get_their_final_path(project: Any) -> None:
    """Scripts and pyvenv.cfg name .venv afterwards; programs and links stay as they are."""
    programs = project.new / "bin"
    programs.mkdir(parents=True)
    binary = b"\x7fELF\0" + os.fsencode(project.new)
    (programs / "ruff").write_bytes(binary)
    (programs / "nox").write_text(f"#!{project.new}/bin/python\nimport nox\n")
    (programs / "nox").chmod(0o755)
    (programs / "python").symlink_to(sys.executable)
    (project.new / "pyvenv.cfg").write_text(f"command = python -m venv {project.new}\n")
    bootstrap.relocate(project)
    assert (programs / "nox").read_text() == f"#!{project.venv}/bin/python\nimport nox\n"
    assert os.access(programs / "nox", os.X_OK)
    assert (programs / "ruff").read_bytes() == binary
    assert (programs / "python").is_symlink()
    assert (project.new / "pyvenv.cfg").read_text() == f"command = python -m venv {project.venv}\n"


def test_what_a_killed_run_left_is_cleared(ready: Any) -> None:
    """The half-made environment goes, and the one that was moved aside comes back."""
    ready.venv.rename(ready.old)
    ready.new.mkdir()
    ready.temporary.mkdir()
    bootstrap.clear(ready)
    assert bootstrap.find_outdated(ready) == ""
    assert sorted(path.name for path in ready.root.iterdir()) == [".venv", "pyproject.toml", "requirements"]


def test_a_link_that_was_the_environment_goes_alone(ready: Any, tmp_path: Path) -> None:
    """A .venv that was a link to another place is replaced; what lies there is not ours to remove."""
    (tmp_path / "elsewhere").mkdir()
    ready.old.symlink_to(tmp_path / "elsewhere")
    bootstrap.clear(ready)
    assert not ready.old.is_symlink()
    assert (tmp_path / "elsewhere").is_dir()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_foreign_venv_is_not_touched(project: Any, kind: str) -> None:
    """Something else that is called .venv is left alone and the person asked to move it."""
    if kind == "folder":
        project.venv.mkdir()
        (project.venv / "thesis.txt").write_text("years of work")
    else:
        project.venv.write_text("years of work")
    with pytest.raises(Failure, match="not a virtual environment"):
        bootstrap.make_environment(project)
    assert project.venv.exists()


RETRY = "WARNING: Retrying (Retry(total=4, connect=None)) after connection broken by 'NewConnectionError(...)': /idna/"
NOTHING = "ERROR: No matching distribution found for idna==3.20"
TLS = "Could not fetch URL: SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] ...')) - skipping"


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have ...", "invoke lock"),
        (f"{RETRY}\n{NOTHING}", "proxy"),
        (f"{RETRY}\n{TLS}\n{NOTHING}", "PIP_CERT"),
        ("ERROR: HTTP error 403 while getting https://index.test/", "login"),
        ("403 Client Error: Forbidden for url: https://index.test/", "login"),
        (f"{NOTHING} (from versions: none)", "whole and current"),
        ("ERROR: Hashes are required in --require-hashes mode, but ...", "git checkout"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "make room"),
        (os.strerror(errno.EACCES), "ownership"),
        (os.strerror(errno.EPERM), "ownership"),
        (os.strerror(errno.EROFS), "ownership"),
        (os.strerror(errno.EDQUOT), "make room"),
        ("No module named 'ensurepip'", "apt install"),
        ("ERROR: odd", ""),
    ],
)
def test_what_is_said_tells_what_to_do(said: str, hint: str) -> None:
    """The words of pip and of the operating system lead to what a person can do."""
    assert hint in bootstrap.find_hint(said)
    assert bool(bootstrap.find_hint(said)) == bool(hint)


@pytest.fixture
def own_pipes() -> Iterator[None]:
    """Let a broken pipe be an error again for the tests that follow."""
    before = signal.getsignal(signal.SIGPIPE)
    yield
    signal.signal(signal.SIGPIPE, before)


@pytest.mark.usefixtures("own_pipes")
def test_becoming_a_command(ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command finds the environment's programs first, and not the host's PYTHONHOME."""
    became: list[Any] = []
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setenv("PYTHONHOME", "/opt")
    bootstrap.become(ready, ["invoke", "build"], lambda *call: became.append(call))
    program, arguments, environment = became[0]
    assert (program, arguments) == ("invoke", ["invoke", "build"])
    assert environment["PATH"] == f"{ready.venv}/bin:/usr/bin"
    assert environment["VIRTUAL_ENV"] == str(ready.venv)
    assert "PYTHONHOME" not in environment


@pytest.mark.usefixtures("own_pipes")
@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES])
def test_a_command_that_cannot_be_run(ready: Any, number: int) -> None:
    """A mistyped command is a mistake of use."""
    with pytest.raises(Failure) as caught:
        bootstrap.become(ready, ["pyton"], failing(OSError(number, os.strerror(number))))
    failure: Any = caught.value
    assert failure.message == f"pyton: {os.strerror(number)}"
    assert (failure.hint != "", failure.code) == (True, 2)


def failing(raised: BaseException) -> Callable[..., int]:
    """Return a stand-in for a part of bootstrap that goes wrong."""

    def fail(*_: object) -> int:
        raise raised

    return fail


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "ERROR interrupted"),
        (bootstrap.Failure("no", "do", 2), 2, "ERROR no\nTIP   do\n"),
        (OSError(errno.ENOSPC, "full"), 1, "ERROR cannot set up .venv: [Errno 28] full\n"),
        (
            ModuleNotFoundError("No module named 'venv'"),
            1,
            "ERROR cannot set up .venv: No module named 'venv'\nTIP   on",
        ),
    ],
    ids=["interrupt", "failure", "system", "incomplete Python"],
)
def test_every_error_has_its_exit_code(
    raised: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Errors reach the person as a line or two, never as a traceback."""
    assert bootstrap.main(SCRIPT.parent, [], failing(raised)) == code
    assert capsys.readouterr().err.startswith(said)


def test_a_bug_is_kept_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What nobody foresaw is told in two lines; the traceback goes to a file that the second one names."""
    keep_temporary_files(monkeypatch, tmp_path)
    assert bootstrap.main(SCRIPT.parent, [], failing(ZeroDivisionError("oops"))) == 3
    (saved,) = tmp_path.iterdir()
    assert "ZeroDivisionError: oops" in saved.read_text()
    assert (
        capsys.readouterr().err
        == f"""\
ERROR a bug in bootstrap: ZeroDivisionError('oops')
TIP   please report it with {saved}
"""
    )


def test_its_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    """--help goes to stdout and sets nothing up; another option is a mistake of use."""
    assert bootstrap.main(SCRIPT.parent, ["--help"]) == 0
    assert capsys.readouterr().out == bootstrap.__doc__
    assert bootstrap.main(SCRIPT.parent, ["--fast", "invoke"]) == 2
    assert "no option --fast" in capsys.readouterr().err
