"""Tests of bootstrap's decisions; tests/integration/test_bootstrap.py makes real environments with it."""

import ast
import errno
import importlib.machinery
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

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
    bootstrap.write_stamp(project, project.venv)
    return project


def replace(path: Path, before: str, after: str) -> None:
    """Change a text in a file that must have it."""
    content = path.read_text()
    assert before in content
    path.write_text(content.replace(before, after))


def test_an_old_python_can_read_it() -> None:
    """Python 3.6 parses the file, so that it can say that it is too old."""
    ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 6))


def test_supported_pythons_are_those_with_a_lock(tmp_path: Path) -> None:
    """Versions are ordered as numbers; what is no version, too old or without a lock does not count."""
    for name in ("3.9", "3.11", "3.100", "3.13", "old", "common.d"):
        (tmp_path / "requirements" / name).mkdir(parents=True)
        (tmp_path / "requirements" / name / "development.txt").touch()
    (tmp_path / "requirements" / "3.14").mkdir()
    assert bootstrap.supported_pythons(tmp_path) == [(3, 11), (3, 13), (3, 100)]


@pytest.mark.parametrize(
    ("running", "supported", "said"),
    [
        ((3, 10), [(3, 11), (3, 13)], "Python 3.10 is too old, and PATH has no other: this project runs on 3.11, 3.13"),
        ((3, 16), [(3, 11), (3, 13)], "Python 3.16 is too new"),
        ((3, 12), [(3, 11), (3, 13)], "Python 3.12 has no lock here"),
        ((3, 12), [], "there is no requirements/<Python>/development.txt"),
    ],
    ids=["old", "new", "between", "no locks"],
)
def test_an_unsupported_python_is_named(running: Any, supported: Any, said: str) -> None:
    """The message names the Python, what is wrong with it and those that would do."""
    failure = bootstrap.unsupported(running, supported)
    assert failure.message.startswith(said)
    assert failure.hint


def test_another_python_takes_over(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python without a lock becomes the one on PATH that has a lock, with the same arguments."""
    became: list[Any] = []
    monkeypatch.setattr(sys, "version_info", (3, 10, 13, "final", 0))
    monkeypatch.setattr(bootstrap, "find_python", lambda versions: "/opt/python3.13" if versions == [(3, 13)] else "")
    monkeypatch.setattr(os, "execv", lambda *call: became.append(call))
    with pytest.raises(Failure):
        bootstrap.use_supported_python(project.root, ["nox", "-l"])
    assert became == [("/opt/python3.13", ["/opt/python3.13", str(project.root / "bootstrap"), "nox", "-l"])]


def test_only_a_python_that_runs_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest one wins; a shim that starts nothing, or another version, is passed over."""
    answers = {"/shims/python3.15": "", "/usr/bin/python3.14": "(3, 13) /usr/bin/python3.13\n"}
    answers["/usr/bin/python3.13"] = "(3, 13) /opt/a place/python3.13\n"
    answers["/usr/bin/python3.12"] = "(3, 12) /usr/bin/python3.12\n"
    paths = {path.rsplit("/", 1)[1]: path for path in answers}
    monkeypatch.setattr("shutil.which", paths.get)
    monkeypatch.setattr(bootstrap, "ask", lambda program, *_: answers[program])
    assert bootstrap.find_python([(3, 12), (3, 13), (3, 14), (3, 15)]) == "/opt/a place/python3.13"
    assert bootstrap.find_python([(3, 11)]) == ""


def test_an_environment_of_today_is_kept(ready: Any) -> None:
    """Nothing is made anew when nothing changed."""
    assert bootstrap.outdated(ready) == ""


CHANGES: dict[str, tuple[Callable[[Any], object], str]] = {
    "lock": (lambda it: replace(it.root / it.lock, "3.1.3", "3.1.4"), "environment"),
    "lock gone": (lambda it: (it.root / it.lock).unlink(), "environment"),
    "no interpreter": (lambda it: (it.venv / "bin" / "python").unlink(), "environment"),
    "no stamp": (lambda it: (it.venv / ".bootstrap").unlink(), "environment"),
    "broken stamp": (lambda it: (it.venv / ".bootstrap").write_bytes(b"\xff"), "environment"),
    "moved": (lambda it: setattr(it, "root", it.root / "." / ".." / it.root.name), "environment"),
    "project": (lambda it: replace(it.root / "pyproject.toml", '"shop"', '"store"'), "project"),
    "backend": (lambda it: replace(it.root / "pyproject.toml", "hatchling", "flit_core"), "project"),
    "a tool's settings": (lambda it: replace(it.root / "pyproject.toml", "100", "120"), ""),
}


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES)
def test_a_change_makes_anew_what_depends_on_it(ready: Any, change: Callable[[Any], object], expected: str) -> None:
    """The lock, the interpreter and the place decide on the environment, pyproject.toml on the project in it."""
    change(ready)
    assert bootstrap.outdated(ready) == expected


def test_another_kind_of_python_makes_it_anew(ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment belongs to one minor version and build of Python."""
    monkeypatch.setattr(sys, "abiflags", "t")
    assert bootstrap.outdated(ready) == "environment"


def test_a_dead_link_is_no_interpreter(ready: Any) -> None:
    """A Python that was uninstalled leaves its link behind: that environment is of no use."""
    link = ready.venv / "bin" / "python"
    link.unlink()
    link.symlink_to(ready.root / "gone")
    assert bootstrap.outdated(ready) == "environment"


def test_broken_toml_is_told() -> None:
    """A pyproject.toml with a syntax error gives the place of the error."""
    with pytest.raises(Failure, match=r"pyproject.toml is not valid TOML: .*line 1"):
        bootstrap.project_fingerprint(b"[project\n")


def test_a_folder_that_is_no_package_has_nothing_to_install() -> None:
    """Without [project] and [build-system] there is only the lock to install."""
    assert bootstrap.project_fingerprint(b"[tool.dockyard]\n") == "-"


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


def test_swap_brings_the_old_one_back_when_it_fails(ready: Any) -> None:
    """Where the new environment cannot be moved into place, the old one stands there again."""
    with pytest.raises(FileNotFoundError):
        bootstrap.swap(ready)
    assert bootstrap.outdated(ready) == ""
    assert not ready.old.exists()


def test_what_a_killed_run_left_is_cleared(ready: Any) -> None:
    """The half-made environment goes, and the one that was moved aside comes back."""
    ready.venv.rename(ready.old)
    ready.new.mkdir()
    bootstrap.recover(ready)
    assert bootstrap.outdated(ready) == ""
    assert sorted(path.name for path in ready.root.iterdir()) == [".venv", "pyproject.toml", "requirements"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_foreign_venv_is_not_touched(project: Any, kind: str) -> None:
    """Something else that is called .venv is left alone and the person asked to move it."""
    if kind == "folder":
        project.venv.mkdir()
        (project.venv / "thesis.txt").write_text("years of work")
    else:
        project.venv.write_text("years of work")
    with pytest.raises(Failure, match="not a virtual environment"):
        bootstrap.recover(project)
    assert project.venv.exists()


def test_an_empty_folder_is_welcome(project: Any) -> None:
    """An empty .venv, as a container's mount leaves it, is no foreign one."""
    project.venv.mkdir()
    bootstrap.recover(project)


def test_a_signal_waits_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal during a short step is answered after it, not in the middle."""
    order: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda *_: order.append("signal"))

    def step() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        order.append("step")

    try:
        bootstrap.uninterrupted(step)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert order == ["step", "signal"]


def test_pip_keeps_the_hosts_index_and_nothing_that_moves_its_target() -> None:
    """Index, CA and proxy reach pip; a target, a report or PYTHONPATH do not."""
    host = {"PIP_INDEX_URL": "a", "PIP_CERT": "b", "HTTPS_PROXY": "c", "PIP_TARGET": "/x", "PYTHONPATH": "/y"}
    made = bootstrap.pip_environment({**host, "PIP_QUIET": "3", "PIP_REQUIRE_HASHES": "1"})
    assert {name: made.get(name) for name in host} == {**host, "PIP_TARGET": None, "PYTHONPATH": None}
    assert "PIP_QUIET" not in made
    assert made["PIP_REQUIRE_HASHES"] == "0"


def no_module(name: str) -> Callable[..., Any]:
    """Return a find_spec for a Python whose distribution left one module out."""
    find = importlib.util.find_spec
    return lambda wanted, *rest: None if wanted == name else find(wanted, *rest)


def test_the_hosts_pip_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose pip knows --python needs no ensurepip."""
    monkeypatch.setattr(importlib.util, "find_spec", no_module("ensurepip"))
    monkeypatch.setattr(bootstrap, "ask", lambda *_: "True\n")
    runner = bootstrap.pip_runner(tmp_path)
    assert runner[1:] == ["-I", "-m", "pip", "--python", str(tmp_path / "bin" / "python")]


@pytest.mark.parametrize("answer", ["False\n", ""], ids=["old", "none"])
def test_the_bundled_pip_comes_second(answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with an old pip or none uses the one that came with its Python."""
    monkeypatch.setattr(bootstrap, "bundled_pip", lambda: "/lib/pip-24.whl")
    monkeypatch.setattr(bootstrap, "ask", lambda *_: answer)
    assert bootstrap.pip_runner(tmp_path) == [str(tmp_path / "bin" / "python"), "-I", "-B", "/lib/pip-24.whl/pip"]


@pytest.mark.processes
def test_the_question_for_the_hosts_pip_is_understood() -> None:
    """The line of Python that asks for pip's version gives one of the answers that are looked for."""
    assert bootstrap.ask(sys.executable, "-I", "-c", bootstrap.KNOWS_PYTHON) in {"True\n", ""}


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_missing_module_is_told_with_its_package(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where distributions ship venv apart, the message names the package to install."""
    monkeypatch.setattr(importlib.util, "find_spec", no_module(module))
    monkeypatch.setattr(bootstrap, "ask", lambda *_: "")
    with pytest.raises(Failure, match=f"has no {module} module") as caught:
        bootstrap.pip_runner(tmp_path)
    assert "apt install python3." in caught.value.hint  # type: ignore[attr-defined]


MISMATCH = """\
ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated the package versions, ...
    idna==3.20 from https://index.test/idna-3.20-py3-none-any.whl (from -r lock.txt (line 3)):
        Expected sha256 aaaa
             Got        bbbb
"""
RETRY = "WARNING: Retrying (Retry(total=4, connect=None)) after connection broken by 'NewConnectionError(...)': /idna/"
NOTHING = "ERROR: No matching distribution found for idna==3.20"
TLS = "Could not fetch URL: SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] ...')) - skipping"


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        (MISMATCH, "idna==3.20 is not the file that lock.txt promises", "invoke lock"),
        (f"{RETRY}\n{NOTHING}", "the package index cannot be reached", "proxy"),
        (f"{RETRY}\n{TLS}\n{NOTHING}", "TLS certificate that pip does not trust", "PIP_CERT"),
        ("ERROR: HTTP error 403 while getting https://index.test/", "refused access", "pip config"),
        (f"{NOTHING} (from versions: none)", "has no idna==3.20 for this Python", "index"),
        (
            "ERROR: Hashes are required in --require-hashes mode, but ...",
            "needs its version and hashes",
            "git checkout",
        ),
        ("ERROR: Could not install: [Errno 28] No space left on device", "the disk is full", "make room"),
        ("ERROR: [Errno 13] Permission denied: '/srv/x'\n", "not allowed to write /srv/x", "ownership"),
        ("ERROR: [Errno 30] Read-only file system: '/srv/x'\n", "not allowed to write /srv/x", "ownership"),
    ],
    ids=["hash", "network", "tls", "denied", "absent", "no hash", "full", "permission", "read-only"],
)
def test_pips_words_become_a_reason(said: str, message: str, hint: str) -> None:
    """What pip says is told as what happened and what to do."""
    failure = bootstrap.diagnose(said.splitlines(), "lock.txt")
    assert message in failure.message
    assert hint in failure.hint


def test_an_unknown_error_shows_pips_last_lines() -> None:
    """Where the reason is unknown the person sees the end of pip's output, without the noise."""
    noise = "WARNING: Location 'file:///x/' is ignored: it is neither a file nor a directory."
    failure = bootstrap.diagnose([*(f"line {number}" for number in range(99)), noise, "ERROR: odd"], "lock.txt")
    shown = failure.message.splitlines()
    assert shown[0] == "pip failed:"
    assert shown[-2:] == ["  line 98", "  ERROR: odd"]
    assert len(shown) == 1 + bootstrap.TAIL_LINES


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "not allowed to write /here/x"),
        (errno.EACCES, "not allowed to write /here/x"),
        (errno.EBUSY, "cannot set up .venv: [Errno 16]"),
    ],
)
def test_the_systems_errors_become_a_reason(number: int, message: str) -> None:
    """A full disk and a folder of somebody else's are told as such."""
    failure = bootstrap.os_failure(OSError(number, os.strerror(number), "/here/x"), Path("/here"))
    assert failure.message.startswith(message)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Collecting idna==3.20 (from -r lock.txt (line 7))", "  4 of 9"),
        ("Processing /opt/wheels/idna-3.20-py3-none-any.whl (from -r lock.txt (line 7))", "  4 of 9"),
        ("Installing collected packages: a, b", "  unpacking"),
        (RETRY, "  the package index does not answer: trying again"),
        ("  Using cached idna-3.20-py3-none-any.whl", ""),
    ],
)
def test_progress_fits_on_one_line(line: str, shown: str) -> None:
    """A terminal shows how far pip is, in one line that is written over."""
    made = bootstrap.progress(line, 4, 9)
    assert made == (f"\r\x1b[K{shown}" if shown else "")


def test_becoming_a_command(ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command finds the environment's programs first, and not the host's PYTHONHOME."""
    became: list[Any] = []
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setenv("PYTHONHOME", "/opt")
    monkeypatch.setattr(os, "execvpe", lambda *call: became.append(call))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    bootstrap.become(ready, ["invoke", "build"])
    program, arguments, environment = became[0]
    assert (program, arguments) == ("invoke", ["invoke", "build"])
    assert environment["PATH"] == f"{ready.venv}/bin:/usr/bin"
    assert environment["VIRTUAL_ENV"] == str(ready.venv)
    assert "PYTHONHOME" not in environment


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (
            FileNotFoundError(errno.ENOENT, "none"),
            "there is no command pyton in .venv or on PATH",
            "did you mean python?",
        ),
        (PermissionError(errno.EACCES, "Permission denied"), "pyton cannot be run: Permission denied", ""),
    ],
)
def test_a_command_that_cannot_be_run(
    ready: Any, monkeypatch: pytest.MonkeyPatch, error: OSError, message: str, hint: str
) -> None:
    """A mistyped command is a mistake of use, with the nearest right one."""
    monkeypatch.setattr(os, "execvpe", failing(error))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(Failure) as caught:
        bootstrap.become(ready, ["pyton"])
    failure: Any = caught.value
    assert (failure.message, failure.hint, failure.code) == (message, hint, 2)


def failing(raised: BaseException) -> Callable[..., int]:
    """Return a stand-in for a part of bootstrap that goes wrong."""

    def fail(*_: object) -> int:
        raise raised

    return fail


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "ERROR interrupted: nothing half-made is left\n"),
        (bootstrap.Failure("no", "do", 2), 2, "ERROR no\nTIP   do\n"),
        (OSError(errno.ENOSPC, "full"), 1, "ERROR the disk is full\nTIP   make room"),
    ],
    ids=["interrupt", "failure", "system"],
)
def test_every_error_has_its_exit_code(
    raised: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Errors reach the person as a line or two, never as a traceback."""
    monkeypatch.setattr(bootstrap, "run", failing(raised))
    assert bootstrap.main([]) == code
    assert capsys.readouterr().err.startswith(said)


def test_a_bug_is_kept_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What nobody foresaw is told in two lines; the traceback goes to a file that the second one names."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(bootstrap, "run", failing(ZeroDivisionError("oops")))
    assert bootstrap.main([]) == 3
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
    assert bootstrap.main(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: ./bootstrap [command …]")
    assert bootstrap.main(["--fast", "invoke"]) == 2
    assert "no option --fast" in capsys.readouterr().err


@pytest.mark.processes
def test_a_child_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that ignores the request to end is ended all the same, and waited for."""
    monkeypatch.setattr(bootstrap, "GRACE_SECONDS", 0.2)
    program = "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        bootstrap.end_group(child)
        assert child.returncode == -signal.SIGKILL
