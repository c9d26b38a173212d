"""The secrets that a stack's compose.env names."""

import stat
from pathlib import Path

from dockyard.stack.prepare import empty_variables, named_secrets, read_secrets


def test_secrets_are_named_in_values() -> None:
    """Comments name none, and one that is named twice is one."""
    text = "# ${NOT}\nA=${ONE}\nB=x://${TWO}:${ONE}@y\nC=$plain\n"
    assert named_secrets(text) == ("ONE", "TWO")


def test_each_is_made_once(tmp_path: Path) -> None:
    """A second start has the same; a variable that the person set is left to them."""
    (tmp_path / "compose.env").write_text("A=${ONE}\nB=${TWO}\n")
    first = read_secrets(tmp_path, frozenset({"TWO"}))
    assert first.keys() == {"ONE"}
    assert len(first["ONE"]) >= 32
    assert read_secrets(tmp_path, frozenset({"TWO"})) == first
    assert stat.S_IMODE((tmp_path / ".dockyard" / "secrets").stat().st_mode) == 0o700


def test_no_file_names_none(tmp_path: Path) -> None:
    """A stack without compose.env needs nothing."""
    assert read_secrets(tmp_path, frozenset()) == {}
    assert not (tmp_path / ".dockyard").exists()


def test_a_value_of_ones_own_may_be_made_of_the_stacks_secrets(tmp_path: Path) -> None:
    """An address in .env names the database's password as compose.env would; nothing else in it is Dockyard's."""
    (tmp_path / "compose.yaml").write_text("secrets: {it: {file: .dockyard/secrets/database_password}}\n")
    (tmp_path / ".env").write_text("A=postgresql://app:${DATABASE_PASSWORD}@database/app\nB=${HOME}\nC=${MINE}\n")
    assert read_secrets(tmp_path, frozenset()).keys() == {"DATABASE_PASSWORD"}
    assert read_secrets(tmp_path, frozenset({"DATABASE_PASSWORD"})) == {}


def test_variables_without_a_value(tmp_path: Path) -> None:
    """A comment is none, and a file that is not there has none."""
    assert empty_variables(tmp_path) == ()
    (tmp_path / "compose.env").write_text("# NO=\nA=\nB=1\n C= \nD=${D}\n")
    assert empty_variables(tmp_path) == ("A", "C")
