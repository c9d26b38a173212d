"""The hook under pre-commit itself: it runs whatever kind of change a commit has."""

import os
import sys
import textwrap
from pathlib import Path

import pytest

from dockyard.process import Command, Completed, capture
from dockyard.settings import Settings
from tests.lock_project import locked_project

pytestmark = [pytest.mark.processes, pytest.mark.host]

ROOT = Path(__file__).resolve().parents[1]
PROJECT = '[tool.dockyard]\napp = "shop:app"\nimage = "shop"\npythons = ["3.12", "3.13"]\n'


def run(root: Path, *words: str, check: bool = True) -> Completed:
    """Run a program in the project, with a home and a git configuration of its own."""
    identity = {f"GIT_{who}_{what}": "me@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    clean: dict[str, str | None] = {name: None for name in os.environ if name.startswith(("GIT_", "DOCKYARD_", "PRE_"))}
    own = {"HOME": str(root.parent), "PRE_COMMIT_HOME": str(root.parent / "cache"), "GIT_CONFIG_NOSYSTEM": "1"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return capture(Command(words, cwd=root, env={**clean, **identity, **own, "PATH": path}), check=check)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a committed project whose hook is the one that others get."""
    root = tmp_path / "project"
    root.mkdir()
    settings = Settings(root=root, app="shop:app", image="shop", pythons=("3.12", "3.13"), python="3.13")
    locked_project(settings)
    (root / "pyproject.toml").write_text(PROJECT)
    (root / "README.md").write_text("A shop.\n")
    hook = (ROOT / ".pre-commit-hooks.yaml").read_text().replace("language: python", "language: system")
    program = Path(sys.executable).with_name("dockyard-lock-check")
    hook = textwrap.indent(hook.replace("entry: dockyard-lock-check", f"entry: {program}"), "      ")
    (root / ".pre-commit-config.yaml").write_text(f"repos:\n  - repo: local\n    hooks:\n{hook}")
    run(root, "git", "init", "--quiet")
    run(root, "git", "add", "--all")
    run(root, "git", "commit", "--quiet", "--message", "begin")
    run(root, "pre-commit", "install")
    return root


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        pytest.param("echo idna >requirements/docs.in", "docs.txt:1: is missing", id="add"),
        pytest.param("echo idna >>requirements/test.in", "test.in:1: has changed", id="edit"),
        pytest.param("echo '# words' >>requirements/test.in", "", id="edit that says nothing"),
        pytest.param(
            "git rm -q requirements/test.in", "there is no requirements/test.in any more", id="delete an input"
        ),
        pytest.param("git rm -q requirements/3.13/test.txt", "3.13/test.txt:1: is missing", id="delete a lock"),
        pytest.param("git mv requirements/test.in requirements/tests.in", "tests.txt:1: is missing", id="rename"),
        pytest.param("chmod +x requirements/test.in", "", id="mode"),
        pytest.param("echo More. >>README.md", "", id="none of them"),
        pytest.param("git rm -q README.md", "", id="delete something else"),
        pytest.param("sed -i s/3.12/3.14/ pyproject.toml", "3.14/test.txt:1: is missing", id="settings"),
    ],
)
def test_a_commit_is_checked_whatever_it_changes(project: Path, change: str, refused: str) -> None:
    """A commit that leaves locks as they should not be is refused; every other one passes."""
    run(project, "sh", "-c", change)
    run(project, "git", "add", "--all")
    done = run(project, "git", "commit", "--message", "change", check=False)
    assert done.ok == (not refused), done.stdout + done.stderr
    assert refused in done.stdout + done.stderr


def test_the_hook_of_this_repository_runs_as_often() -> None:
    """The local copy and the one that others get have the same terms."""
    config = (ROOT / ".pre-commit-config.yaml").read_text()
    own = config[config.index("id: lock-check") :].partition("- id:")[0]
    for hook in (own, (ROOT / ".pre-commit-hooks.yaml").read_text()):
        assert "always_run: true\n" in hook
        assert "pass_filenames: false\n" in hook
        assert "files: " not in hook.replace("pass_filenames: ", "")


def test_the_hook_imports_nothing_that_takes_long(project: Path) -> None:
    """It runs at every commit: dataclasses alone would be a fifth of its time."""
    code = "import sys; from dockyard.locks.check import main; assert not main(); print(*sys.modules)"
    imported = set(run(project, sys.executable, "-c", code).stdout.split())
    assert not imported & {"dataclasses", "difflib", "json", "logging", "subprocess", "invoke"}
