"""Files are written whole or not at all; where base images are kept on this host."""

import contextlib
import fcntl
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from dockyard.errors import DockyardError

MOUNTS = Path("/proc/self/mountinfo")
DETACH = 2
OWN = ".dockyard"
"""The folder of a project in which Dockyard keeps what it makes there."""


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of Dockyard in this user's cache, whether it exists or not."""
    cache = Path(environment.get("XDG_CACHE_HOME") or "~/.cache")
    return (cache if cache.is_absolute() else Path("~/.cache").expanduser()) / "dockyard"


def folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of base images in this user's cache."""
    return cache_folder(environment) / "bases"


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Make a folder with those that it lies in; git is told to leave alone what Dockyard keeps in a project.

    A folder that git sees would make the next image that of a tree with changes.
    """
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    own = next((folder for folder in (path, *path.parents) if folder.name == OWN), None)
    if own and not (own / ".gitignore").exists():
        (own / ".gitignore").write_text("*\n", "utf-8")


def write_atomically(path: Path, text: str) -> None:
    """Write a text file by way of a temporary one beside it."""
    with _beside(path, text) as fresh:
        fresh.replace(path)


def replace_files(wanted: Mapping[Path, str | bytes | None]) -> None:
    """Give every path its content, or remove it where that is None; on any error leave all as they were."""
    try:
        with contextlib.ExitStack() as stack:
            fresh = {path: stack.enter_context(_beside(path, new)) for path, new in wanted.items() if new is not None}
            old = {path: path.read_bytes() if path.exists() else None for path in wanted}
            try:
                for path in wanted:
                    fresh[path].replace(path) if path in fresh else path.unlink(missing_ok=True)
            except BaseException:
                for path, content in old.items():
                    path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
                raise
    except OSError as error:
        raise DockyardError(f"{error.filename}: {error.strerror}", "nothing was changed") from None


@contextlib.contextmanager
def _beside(path: Path, content: str | bytes) -> Iterator[Path]:
    """Write something to a temporary file in the folder of its target; it is gone at the end unless it was moved."""
    made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        # A new .env holds secrets: its owner alone reads it.
        Path(name).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o600 if path.name == ".env" else 0o644)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a folder made for this that holds something now
            for folder in made:
                folder.rmdir()


def list_mounts(folders: Iterable[Path], table: Path = MOUNTS) -> list[str]:
    """Return the mount points in or below some folders, by a mountinfo file, the innermost first."""
    wanted = tuple(map(str, folders))
    lines = table.read_text("utf-8", "surrogateescape").splitlines()
    points = [re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), line.split()[4]) for line in lines]
    below = [point for point in points if any(point == folder or point.startswith(f"{folder}/") for folder in wanted)]
    return below[::-1]


def unmount(folders: Iterable[Path], table: Path = MOUNTS) -> None:
    """Undo what is mounted in or below some folders: deleting below a mount would delete what is mounted there."""
    import ctypes  # takes longer to import than most of what needs this module

    library, folders = ctypes.CDLL(None, use_errno=True), tuple(folders)
    for point in list_mounts(folders, table):
        library.umount2(os.fsencode(point), DETACH)
    if stayed := list_mounts(folders, table):
        raise DockyardError(f"{stayed[0]} is still mounted", f"run: umount --lazy {stayed[0]}")


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a lock file, so that two commands do not make the same thing at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """Turn what the operating system says about files into an error that a person can act on."""
    try:
        yield
    except OSError as error:
        raise DockyardError(
            f"cannot write {error.filename or folder()}: {error.strerror}",
            "free about 1 GB, check who owns it, or set TMPDIR and XDG_CACHE_HOME to folders on a larger disk",
        ) from None
