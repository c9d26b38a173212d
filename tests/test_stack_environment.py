"""The secrets that a stack's compose.env names."""

import stat
from pathlib import Path

from dockyard.stack.prepare import named_secrets, read_secrets


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
