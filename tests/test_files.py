"""Files are written whole or not at all."""

from pathlib import Path

import pytest

from dockyard.errors import DockyardError
from dockyard.files import make_folder, replace_files, write_atomically
from dockyard.process import Command, capture


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


def tree(root: Path) -> dict[str, str]:
    """Return every file below a folder with its text."""
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


def test_files_are_written_replaced_and_removed(tmp_path: Path) -> None:
    """One call does all three, makes folders, and leaves no temporary file."""
    (tmp_path / "old.txt").write_text("old")
    (tmp_path / "gone.txt").write_text("gone")
    replace_files({tmp_path / "old.txt": "new", tmp_path / "3.15/deep.txt": "x\n", tmp_path / "gone.txt": None})
    assert tree(tmp_path) == {"3.15/deep.txt": "x\n", "old.txt": "new"}
    assert (tmp_path / "old.txt").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device", "b.txt")])
@pytest.mark.parametrize("moves", [0, 1, 2])
def test_trouble_in_the_middle_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, moves: int
) -> None:
    """An interrupt or a full disk at any of the moves puts back what was there."""
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "c.txt").write_text("c")
    before = tree(tmp_path)
    real, done = Path.replace, list[Path]()

    def replace(path: Path, target: Path) -> Path:
        if len(done) == moves:
            raise error
        done.append(target)
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    wanted = {tmp_path / "a.txt": "A", tmp_path / "new/b.txt": "B", tmp_path / "c.txt": "C"}
    with pytest.raises((KeyboardInterrupt, DockyardError)):
        replace_files(wanted)
    assert tree(tmp_path) == before
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A file in the place of a folder is an error with its name."""
    (tmp_path / "3.13").write_text("a file")
    with pytest.raises(DockyardError, match=r"3\.13"):
        replace_files({tmp_path / "a.txt": "a", tmp_path / "3.13/b.txt": "b"})
    assert tree(tmp_path) == {"3.13": "a file"}


@pytest.mark.parametrize("into", ["runs", "secrets/deep", "."])
def test_git_leaves_alone_what_dockyard_keeps_in_a_project(tmp_path: Path, into: str) -> None:
    """Whoever writes there first, and whatever the project ignores: a build must not make the next image dirty."""
    make_folder(tmp_path / ".dockyard" / into, 0o700)
    assert (tmp_path / ".dockyard" / ".gitignore").read_text() == "*\n"
    (tmp_path / ".dockyard" / ".gitignore").write_text("mine\n")
    write_atomically(tmp_path / ".dockyard" / "runs" / "1.json", "{}")
    assert (tmp_path / ".dockyard" / ".gitignore").read_text() == "mine\n"
    make_folder(tmp_path / "other")
    assert not (tmp_path / "other" / ".gitignore").exists()


@pytest.mark.host
@pytest.mark.processes
def test_git_agrees(tmp_path: Path) -> None:
    """The folder is no change of the tree."""
    capture(Command(("git", "init", "--quiet", str(tmp_path))))
    write_atomically(tmp_path / ".dockyard" / "runs" / "1.json", "{}")
    assert capture(Command(("git", "status", "--porcelain", "--untracked-files=all"), cwd=tmp_path)).stdout == ""
