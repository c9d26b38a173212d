"""Say which shared libraries are missing, what needs them, and which Debian packages usually have them."""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from .files import inside
from .linker import Missing

TABLE = Path(__file__).parent / "debian-packages.txt"
DPKG_LISTS = Path("/var/lib/dpkg/info")
NOTES = Path("/usr/share/dockyard/missing")
"""Where an image has a file for each of its layers that lacks something: the policy's rule reads them."""

SIGN = "missing shared library: "
"""Begins each line on stderr, so that what reads a build's output can find it."""


def name_package(library: str, rows: Iterable[str] = ()) -> str:
    """Return the Debian package that usually has a library, by the table's rows, or nothing."""
    for row in rows or TABLE.read_text("utf-8").splitlines():
        pattern, _, package = row.partition(" ")
        found = re.fullmatch(pattern, library)
        if found:
            return found.expand(package.strip()).lower().replace("_", "-")
    return ""


def find_installed(library: str, lists: Path = DPKG_LISTS) -> tuple[str, str]:
    """Return the installed package that has a library where no linker looks, and the library's path, or nothing."""
    for listing in sorted(lists.glob("*.list")):
        for path in listing.read_text("utf-8").splitlines():
            if path.endswith(f"/{library}"):
                return listing.stem.partition(":")[0], path
    return "", ""


def locate(library: str, lists: Path = DPKG_LISTS) -> str:
    """Say where a library is to be had, or nothing."""
    package, path = find_installed(library, lists)
    if path:
        return f"the package {package} has it at {path}, where the linker does not look"
    usual = name_package(library)
    return f"usually in the Debian package {usual}" if usual else ""


def note_missing(layer: Path, missing: Iterable[Missing], lists: Path = DPKG_LISTS, *, say: bool = True) -> None:
    """Write down what a layer lacks for whoever verifies the image, a line for each need, and say it."""
    lines = []
    for each in sorted(missing):
        where = locate(each.library, lists)
        if say:
            sys.stderr.write(f"{SIGN}{each.library}, needed by {each.path}{where and '; ' + where}\n")
        lines.append(f"{each.path}\t{each.library}\t{where}\n")
    if lines:
        note = inside(layer, NOTES) / layer.name
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text("".join(lines), "utf-8")
