"""Read and write bases.lock: the base images that a project takes from a registry, by digest.

The file is committed; `invoke base.update` writes it and nothing else does.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dockyard.errors import SettingsError
from dockyard.files import write_atomically

FILE = "bases.lock"
HEAD = "# Base images by digest: written by `invoke base.update`, to be committed.\n"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Pin:
    """A reference of a registry and the digest it is held to."""

    reference: str
    digest: str


def read_bases_lock(root: Path) -> dict[str, Pin]:
    """Return the pins of the project at `root` by Python, none where it has no file; raise SettingsError."""
    try:
        return parse_bases_lock((root / FILE).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{FILE}: cannot be read: {error}", _MEND) from None


def write_bases_lock(root: Path, pins: Mapping[str, Pin]) -> None:
    """Replace the project's pins."""
    write_atomically(root / FILE, render_bases_lock(pins))


def parse_bases_lock(text: str) -> dict[str, Pin]:
    """Return the pins that a file's text holds; raise SettingsError naming the line's place and value."""
    try:
        tables = tomllib.loads(text).get("python", {})
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{FILE}: not valid TOML: {error}", _MEND) from None
    if not isinstance(tables, dict):
        raise SettingsError(f"{FILE}: python must be a table for each version", _MEND)
    return {python: _pin(python, table) for python, table in tables.items()}


def render_bases_lock(pins: Mapping[str, Pin]) -> str:
    """Return the file's text, in the order of the Pythons."""
    tables = (
        f'\n[python."{python}"]\nreference = "{pins[python].reference}"\ndigest = "{pins[python].digest}"\n'
        for python in sorted(pins, key=by_version)
    )
    return HEAD + "".join(tables)


def by_version(python: str) -> tuple[int, ...]:
    """Return a sort key that puts 3.9 before 3.10."""
    return tuple(int(part) for part in python.split(".") if part.isdecimal())


def _pin(python: str, table: Any) -> Pin:
    place = f'{FILE}: [python."{python}"]'
    if not isinstance(table, dict):
        raise SettingsError(f"{place} must be a table with reference and digest", _MEND)
    reference, digest = table.get("reference"), table.get("digest")
    if not isinstance(reference, str) or not reference:
        raise SettingsError(f"{place} reference = {reference!r}: must name an image", _MEND)
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise SettingsError(f"{place} digest = {digest!r}: must be sha256: and 64 hexadecimal digits", _MEND)
    return Pin(reference, digest)


_MEND = "delete the file and run `invoke base.update`"
