"""Files are written whole or not at all."""

from pathlib import Path

import pytest

from dockyard.files import write_atomically


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [None, "old"], ids=["new", "replaced"])
def test_a_failed_write_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, before: str | None
) -> None:
    """Neither a full disk nor an interrupt leaves half a file, a temporary one or none where there was one."""
    path = tmp_path / "made" / "file"
    path.parent.mkdir()
    if before:
        path.write_text(before)

    def fail(_self: Path, _target: Path) -> None:
        raise error

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(type(error)):
        write_atomically(path, "new")
    assert [file.read_text() for file in path.parent.iterdir()] == ([before] if before else [])


def test_a_file_is_written_with_its_folder(tmp_path: Path) -> None:
    """Others may read it, whatever the umask of temporary files."""
    path = tmp_path / "a" / "b"
    write_atomically(path, "text")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("text", 0o644)
