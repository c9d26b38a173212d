"""`dockyard`, the program: what it lists, and how it ends."""

import contextlib
import io
import sys
from pathlib import Path

import pytest

from dockyard import __version__, tasks
from dockyard.tasks import make_program, namespace


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    """Run the program in this process; return its exit code, stdout and stderr."""
    code: object = 0
    try:
        make_program().run(["dockyard", *arguments])
    except SystemExit as end:
        code = end.code
    return (code, *capsys.readouterr())


def test_every_task_is_listed_without_a_tasks_file(
    capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that holds nothing, every task is there."""
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    code, out, _ = run(capsys, "--list")
    assert code == 0
    listed = {line.split()[0] for line in out.splitlines() if line.startswith("  ") and line[2:3].strip()}
    assert listed == {name.replace("_", "-") for name in namespace.task_names}


def test_the_version_is_dockyards(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is that of Dockyard, not of Invoke."""
    assert run(capsys, "--version") == (0, f"Dockyard {__version__}\n", "")


@pytest.mark.parametrize("line", [["bild"], ["build", "--bogus"], ["--bogus"], ["--help", "bild"]], ids=" ".join)
def test_a_wrong_command_line_is_told_once(capsys: pytest.CaptureFixture[str], line: list[str]) -> None:
    """A task or an option that does not exist ends with 2, and a hint."""
    code, _, err = run(capsys, *line)
    assert code == 2
    assert err.startswith("ERROR ")
    assert "TIP" in err
    assert "Traceback" not in err


def test_errors_pass_the_same_boundary(
    capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that needs a project says so outside of one, with the code for settings."""
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    code, _, err = run(capsys, "build", "--dry-run")
    assert code == 2
    assert "pyproject.toml" in err


def test_completion_names_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    """The completion script is for the word `dockyard`."""
    code, out, _ = run(capsys, "--print-completion-script", "bash")
    assert code == 0
    assert "dockyard" in out


def test_a_reader_of_the_list_that_has_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`dockyard --list | head -1` ends without a word, also where Invoke itself prints."""

    class Left(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

        def fileno(self) -> int:
            return out.fileno()

    monkeypatch.setattr(sys, "argv", ["dockyard", "--list"])
    with (tmp_path / "out").open("w") as out:
        with contextlib.redirect_stdout(Left()):
            tasks.run()
        out.write("more")
    assert (tmp_path / "out").read_text() == ""
