"""Say which shared libraries are missing, what needs them, and which Debian packages usually have them."""

import re
from collections.abc import Iterable
from pathlib import Path

from .linker import Missing

TABLE = Path(__file__).parent / "debian-packages.txt"
DPKG_LISTS = Path("/var/lib/dpkg/info")
SIGN = "missing shared library: "
"""Begins each line of a message, so that what reads a build's output can find it."""


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


def describe_missing(missing: Iterable[Missing], lists: Path = DPKG_LISTS) -> list[str]:
    """Return a line for each library that is missing: what needs it, and where it is to be had."""
    objects: dict[str, list[str]] = {}
    for each in missing:
        objects.setdefault(each.library, []).append(each.path)
    lines = []
    for library, paths in sorted(objects.items()):
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        package, at = find_installed(library, lists)
        usual = name_package(library)
        where = ""
        if at:
            where = f"; the package {package} has it at {at}, where the linker does not look"
        elif usual:
            where = f"; usually in the Debian package {usual}"
        lines.append(f"{SIGN}{library}, needed by {paths[0]}{more}{where}")
    return lines
