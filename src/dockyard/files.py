"""Where base images are kept on this host, and how files there are written whole or not at all."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from dockyard.errors import DockyardError


def folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of base images in this user's cache, whether it exists or not."""
    cache = Path(environment.get("XDG_CACHE_HOME") or "~/.cache")
    if not cache.is_absolute():
        cache = Path("~/.cache").expanduser()
    return cache / "dockyard" / "bases"


def write_atomically(path: Path, text: str) -> None:
    """Write a text file by way of a temporary one beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


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
            "base images need about 500 MB each while they are made: "
            "free some, or set TMPDIR and XDG_CACHE_HOME to folders on a larger disk",
        ) from None
