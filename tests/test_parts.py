"""Dividing a lock into parts."""

import subprocess
import sys
from pathlib import Path

import pytest

from dockyard import parts

LOCK = """\
# Made by Dockyard
--only-binary :all:
Flask[async]==3.1.3 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via app
colorama==0.4 ; sys_platform == "win32" \\
    --hash=sha256:cc  # odd
zope.event==5 --hash=sha256:dd
six @ https://files.example/six-1.tar.gz#sha256=ee \\
    --hash=sha256:ee
"""


def test_requirements() -> None:
    """One line each, with its marker and its hashes; comments stay behind, a hash in an address does not."""
    assert parts.requirements(LOCK) == [
        "--only-binary :all:",
        "Flask[async]==3.1.3 --hash=sha256:aa --hash=sha256:bb",
        'colorama==0.4 ; sys_platform == "win32" --hash=sha256:cc',
        "zope.event==5 --hash=sha256:dd",
        "six @ https://files.example/six-1.tar.gz#sha256=ee --hash=sha256:ee",
    ]
    assert parts.requirements("") == []


def test_each_requirement_is_in_one_part() -> None:
    """Nothing is lost and nothing is twice, but for what holds for the whole lock; the order stays."""
    made = [text.splitlines() for text in parts.divided(LOCK, 4)]
    assert [lines[0] for lines in made] == ["--only-binary :all:"] * 4
    assert sorted(line for lines in made for line in lines[1:]) == sorted(parts.requirements(LOCK)[1:])
    assert parts.divided(LOCK, 1) == ["".join(f"{line}\n" for line in parts.requirements(LOCK))]


@pytest.mark.parametrize("line", ["-e .", "--editable=.", "./flask-3-py3-none-any.whl", "https://files.example/x.whl"])
def test_what_has_no_name_is_in_the_first(line: str) -> None:
    """Pip decides what to make of it, and it does so once."""
    assert parts.divided(line, 3) == [f"{line}\n", "", ""]


def test_versions_of_one_package_stay_together() -> None:
    """A lock may have several under different markers; however the name is written, they are one package's."""
    lock = "typing-extensions==4 ; python_version < '3.12'\nTyping_Extensions==5 ; python_version >= '3.12'\n"
    assert sorted(parts.divided(lock, 9)) == [*[""] * 8, lock]


def test_a_package_never_moves() -> None:
    """Its part follows from its name alone: these are the parts of images that people have pulled already."""
    assert [parts.place(name, 4) for name in ("flask", "Flask", "sqlalchemy", "alembic", "gunicorn")] == [0, 0, 3, 2, 0]
    assert {parts.place(name, 1) for name in ("flask", "six")} == {0}


def test_a_new_version_changes_one_part() -> None:
    """A comment changes none, an extra or a marker only the part of its package."""
    before = parts.divided(LOCK, 4)
    assert parts.divided(LOCK.replace("# via app", "# via app, other"), 4) == before
    after = parts.divided(LOCK.replace("Flask[async]==3.1.3", "Flask==3.1.4"), 4)
    assert [number for number in range(4) if before[number] != after[number]] == [parts.place("flask", 4)]


@pytest.mark.processes
def test_it_runs_alone(tmp_path: Path) -> None:
    """Inside a build there is this one file and the standard library, and nothing of Dockyard."""
    (tmp_path / "parts.py").write_text(Path(parts.__file__).read_text())
    (tmp_path / "lock.txt").write_text(LOCK)
    command = [sys.executable, "-I", "-S", "parts.py", "lock.txt", "made", "4"]
    subprocess.run(command, check=True, cwd=tmp_path, env={})
    made = [(tmp_path / "made" / f"{number}.txt").read_text() for number in range(1, 5)]
    assert made == parts.divided(LOCK, 4)


@pytest.mark.parametrize("arguments", [[], ["a", "b", "0"], ["a", "b", "x"]])
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Usage is told, with the code for it."""
    with pytest.raises(SystemExit) as caught:
        parts.main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err
