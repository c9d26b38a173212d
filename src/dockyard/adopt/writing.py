"""Decide what becomes of each file, show it, and write all of it or nothing; what exists is never overwritten."""

import contextlib
import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dockyard.adopt.snapshot import Snapshot
from dockyard.files import replace_files

GROWING = {"pyproject.toml", ".gitignore", ".env", "Aptfile"}
"""Files that get lines where they exist, at their end but for answers in the settings, and lose none."""


@dataclass(frozen=True)
class Change:
    """What becomes of a file: `action` is create, append, same, keep where it exists and would be another, or update.

    An update is for a file that is as it was written: nobody has changed it since.
    """

    path: str
    action: str
    text: str
    before: str = ""

    @property
    def writes(self) -> bool:
        """Whether anything is written."""
        return self.action in {"create", "append", "update"}

    @property
    def lines(self) -> int:
        """How many lines it adds."""
        return self.text.count("\n") - self.before.count("\n") if self.writes else 0


def plan_changes(
    files: Mapping[str, str], present: Mapping[str, str], written: Mapping[str, str] | None = None
) -> tuple[Change, ...]:
    """Return what becomes of each file, by the texts of those that are present and of those once written (pure)."""

    def action(path: str, text: str) -> str:
        if path not in present:
            return "create"
        if present[path] == text:
            return "same"
        if written and present[path] == written.get(path):
            return "update"
        if path not in GROWING:
            return "keep"
        return "append" if text.startswith(present[path].rstrip("\n")) else "update"

    return tuple(Change(path, action(path, text), text, present.get(path, "")) for path, text in sorted(files.items()))


def add_lines(text: str, lines: Iterable[str]) -> str:
    """Return a text with those of some lines at its end that it does not hold yet (pure)."""
    present = text.splitlines()
    return "".join(f"{line}\n" for line in (*present, *(line for line in lines if line not in present)))


def read_present(root: Path, paths: Iterable[str], snapshot: Snapshot) -> dict[str, str]:
    """Return the texts of the files that exist among some paths."""
    present: dict[str, str] = {}
    for path in paths:
        file = root / path
        if path in snapshot.texts:
            present[path] = snapshot.texts[path]
        elif os.path.lexists(file):
            with contextlib.suppress(OSError):  # a folder or a broken link stays what it is
                present[path] = file.read_bytes().decode("utf-8-sig", "replace").replace("\r\n", "\n")
            present.setdefault(path, "")
    return present


def differences(changes: Iterable[Change]) -> Iterator[str]:
    """Yield the unified difference of each file that is written, or would be another (pure)."""
    for change in changes:
        if change.action != "same":
            old, new = change.before.splitlines(keepends=True), change.text.splitlines(keepends=True)
            label = f"{change.path} (kept as it is)" if change.action == "keep" else change.path
            yield from difflib.unified_diff(old, new, change.path if old else "/dev/null", label)


def write_changes(root: Path, changes: Iterable[Change]) -> None:
    """Write all files or none."""
    replace_files({root / change.path: _encode(root / change.path, change) for change in changes if change.writes})


def _encode(file: Path, change: Change) -> bytes:
    """Return a file's content; one that grows keeps its own bytes, line ends included."""
    content = change.text.encode()
    if change.action == "create":
        return content
    old = file.read_bytes()
    ends = b"\r\n" if b"\r\n" in old else b"\n"
    if change.action == "append":
        added = change.text[len(change.before.rstrip("\n")) :]
        return old.rstrip(b"\r\n") + added.encode().replace(b"\n", ends)
    return content.replace(b"\n", ends)
