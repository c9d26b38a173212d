"""Write several files or none of them."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dockyard.errors import DockyardError


def write_all(wanted: Mapping[Path, str | None]) -> None:
    """Give every path its text, or remove it where that is None; on any error leave all as they were."""
    try:
        with ExitStack() as stack:
            fresh = {path: stack.enter_context(_beside(path, text)) for path, text in wanted.items()}
            _swap(fresh)
    except OSError as error:
        raise DockyardError(f"{error.filename}: {error.strerror}", "no lock was changed") from None


@contextmanager
def _beside(path: Path, text: str | None) -> Iterator[Path | None]:
    """Write a text to a temporary file in the folder of its target; it is gone at the end unless it was moved."""
    if text is None:
        yield None
        return
    made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a folder made for this that holds something now
            for folder in made:
                folder.rmdir()


def _swap(fresh: Mapping[Path, Path | None]) -> None:
    """Put every new file in its place; when that is interrupted, put the old ones back."""
    old = {path: path.read_bytes() if path.exists() else None for path in fresh}
    try:
        for path, made in fresh.items():
            made.replace(path) if made else path.unlink(missing_ok=True)
    except BaseException:
        for path, content in old.items():
            path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
        raise
