"""Every way in which a task can end is told once, with its exit code."""

import contextlib
import errno
import os
import re
import signal
from pathlib import Path

import pytest
from invoke.exceptions import Exit

from dockyard.errors import ChangesPending, DockyardError, EngineError, SettingsError, UsageError
from dockyard.tasks import boundary
from tests.conftest import keep_temporary_files

ENDINGS = [
    (DockyardError("broken", "mend it"), 1, "ERROR broken\nTIP   mend it\n"),
    (EngineError("no engine"), 1, "ERROR no engine\n"),
    (ChangesPending("stale"), 1, "ERROR stale\n"),
    (UsageError("no such target"), 2, "ERROR no such target\n"),
    (SettingsError("bad key"), 2, "ERROR bad key\n"),
    (KeyboardInterrupt(), 130, "\ninterrupted: nothing half-made was kept\n"),
    (Exit(code=7), 7, ""),
]


def ending(error: BaseException) -> int:
    """Return the exit code of a task that ends with `error`."""

    def body() -> None:
        raise error

    with pytest.raises(Exit) as caught:
        boundary.boundary(body)()
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize(("error", "code", "said"), ENDINGS, ids=[type(error).__name__ for error, _, _ in ENDINGS])
def test_an_ending(error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Message, tip and exit code, and nothing else."""
    assert ending(error) == code
    assert capsys.readouterr() == ("", said)


def test_a_good_end() -> None:
    """A task that returns is left alone, with what it was given."""
    seen: list[object] = []
    boundary.boundary(lambda *args, **kwargs: seen.append((args, kwargs)))(1, two=2)
    assert seen == [((1,), {"two": 2})]


def test_a_bug_is_saved_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The person sees one line and where the traceback is; the file holds all of it."""
    keep_temporary_files(monkeypatch, tmp_path)
    assert ending(ZeroDivisionError("by zero")) == 3
    said = capsys.readouterr().err
    assert "this is a bug in Dockyard" in said
    assert "Traceback" not in said
    saved = re.search(r"the traceback is in (\S+)", said)
    assert saved
    text = Path(saved[1]).read_text()
    assert "Traceback (most recent call last)" in text
    assert "ZeroDivisionError: by zero" in text


def test_a_bug_whose_traceback_cannot_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trouble with that file does not become a second error."""
    keep_temporary_files(monkeypatch, tmp_path / "absent")
    assert ending(ZeroDivisionError("by zero")) == 3
    assert "could not be saved" in capsys.readouterr().err


@pytest.mark.parametrize("number", sorted(boundary.OF_THE_MACHINE), ids=errno.errorcode.get)
def test_trouble_of_the_machine_is_no_bug(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A full disk and the like are told as what they are, with the file and what to do."""
    assert ending(OSError(number, os.strerror(number), "/some/file")) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"ERROR {os.strerror(number)}: /some/file\nTIP   ")
    assert "bug" not in said


def test_another_error_of_the_system_is_a_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing file is something that the code should have foreseen."""
    keep_temporary_files(monkeypatch, tmp_path)
    assert ending(FileNotFoundError(errno.ENOENT, "No such file", "x")) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_being_asked_to_end_is_an_interrupt(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A cancelled job cleans up like Ctrl-C does, and afterwards the signal means what it meant."""

    def body() -> None:
        os.kill(os.getpid(), number)
        signal.pause()

    with pytest.raises(Exit) as caught:
        boundary.boundary(body)()
    assert caught.value.code == 130
    assert signal.getsignal(number) == signal.SIG_DFL


def test_a_signal_that_is_ignored_stays_so() -> None:
    """Under nohup, a closed window is none of our business."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        boundary.boundary(lambda: os.kill(os.getpid(), signal.SIGHUP))()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_task_keeps_its_name_and_help() -> None:
    """Invoke shows the docstring and the parameters of the body."""

    @boundary.task(help={"flag": "what it does"})
    def sail(flag: bool = False) -> None:
        """Go to sea."""

    assert sail.name == "sail"
    assert sail.__doc__ == "Go to sea."
    assert [argument.name for argument in sail.get_arguments()] == ["flag"]


def test_settings_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project is the one that the person stands in."""
    (tmp_path / "pyproject.toml").write_text('[tool.dockyard]\napp = "a:b"\nimage = "x"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOCKYARD_IMAGE", "y")
    assert boundary.settings().image == "y"


def test_a_reader_that_has_left(tmp_path: Path) -> None:
    """`invoke … | head` is no error, and what is still to be written goes nowhere."""
    with (tmp_path / "out").open("w") as out, contextlib.redirect_stdout(out):
        assert ending(BrokenPipeError()) == 0
        out.write("more")
    assert (tmp_path / "out").read_text() == ""
