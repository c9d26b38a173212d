"""bases.lock: a file that people read, and whose mistakes are named."""

from pathlib import Path

import pytest

from dockyard.bases import lookup
from dockyard.errors import ExitCode, SettingsError

DIGEST = "sha256:" + "0123456789abcdef" * 4


def test_no_file_no_pins(tmp_path: Path) -> None:
    """A project need not have pins."""
    assert lookup.read_bases_lock(tmp_path) == {}


def test_written_and_read_again(tmp_path: Path) -> None:
    """The file is sorted by version, services last, says who writes it, and is written whole."""
    held = dict.fromkeys(("3.13", "3.9", "3.11"), DIGEST)
    held |= dict.fromkeys(("valkey/valkey:8", "postgres:17"), DIGEST)
    lookup.write_bases_lock(tmp_path, held)
    assert lookup.read_bases_lock(tmp_path) == held
    text = (tmp_path / lookup.FILE).read_text()
    assert text.startswith("# ")
    assert "base.update" in text
    assert text.index('"3.9"') < text.index('"3.11"') < text.index('"3.13"') < text.index("postgres:17")
    assert '[service."valkey/valkey:8"]' in text
    assert [path.name for path in tmp_path.iterdir()] == [lookup.FILE]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("python = [", "not valid TOML"),
        ('python = "3.13"', "python must be a table"),
        ('service = "postgres"', "service must be a table for each image"),
        ('[service]\n"postgres:17" = 1', r'\[service\."postgres:17"\] digest = 1'),
        ('[python]\n"3.13" = 1', r'\[python\."3.13"\] digest = 1'),
        ('[python."3.13"]\nreference = "python:3.13-slim"', "digest = None"),
        ('[python."3.13"]\nreference = "python:3.13-slim"\ndigest = "sha256:12"', "digest = 'sha256:12'"),
    ],
)
def test_mistakes_are_named(text: str, named: str) -> None:
    """A file edited by hand or torn by a merge is refused with its place and value, and a way to mend it."""
    with pytest.raises(SettingsError, match=named) as caught:
        lookup.parse_bases_lock(text)
    assert caught.value.message.startswith(lookup.FILE)
    assert "base.update" in caught.value.hint
    assert caught.value.code is ExitCode.USAGE


def test_unreadable_file(tmp_path: Path) -> None:
    """A file that is no text is told of, not shown as a traceback."""
    (tmp_path / lookup.FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="cannot be read"):
        lookup.read_bases_lock(tmp_path)
