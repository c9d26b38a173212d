"""Give layers the shared libraries that what is in them needs, and note what is nowhere."""

import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .files import UNWANTED_MODULES, copy, find_objects, inside, record_packages
from .linker import Missing, Scan, System, read_system, scan_libraries

TABLE = Path(__file__).parent / "debian-packages.txt"
DPKG_LISTS = Path("/var/lib/dpkg/info")
NOTES = Path("/usr/share/dockyard/missing")
"""Where an image has a file for each of its layers that lacks something: the policy's rule reads them."""

SIGN = "missing shared library: "
"""Begins each line on stderr, so that what reads a build's output can find it."""


@dataclass(frozen=True)
class Base:
    """A base image as far as libraries go: its Python, that one's own modules, and where its linker looks."""

    python: str
    modules: Path
    system: System

    def scan(self, objects: Iterable[str]) -> Scan:
        """Find what objects need."""
        return scan_libraries(objects, self.system, self.python)

    def runtime_objects(self) -> list[str]:
        """Return what the minimal image runs in any case: the interpreter, and the modules that it takes along."""
        modules = find_objects(str(self.modules))
        return [self.python, *(path for path in modules if not Path(path).name.startswith(UNWANTED_MODULES))]


def this_base() -> Base:
    """Return the base image that this program runs in."""
    modules = Path(sysconfig.get_path("stdlib"), "lib-dynload")
    return Base(str(Path(sys.executable).resolve()), modules, read_system())


def add_runtime_libraries(layer: Path, kept: Sequence[Path], base: Base) -> None:
    """Give the runtime's layer what the interpreter needs, and programs and plugins that are kept without a scan."""
    objects = [*base.runtime_objects(), *find_objects(*(str(path.resolve()) for path in kept))]
    add_needed(layer, base.scan(objects))
    record_packages(layer)


def add_libraries(layers: Sequence[Path], folder: Path, base: Base, *, alone: bool = True) -> None:
    """Give each layer what its part of a folder needs and the runtime lacks.

    All of the folder is looked at as one: a package may load what another one brings. What the runtime has is found
    out anew, where that matters, so that no stage has to wait for its layer. What is missing is said at once only
    where the folder stands alone: other stages may bring it otherwise, and whoever verifies the image sees them all.
    """
    scan = base.scan(find_objects(str(folder)))
    present = base.scan(base.runtime_objects()).needed if scan.needed else {}
    lacking = {path: objects for path, objects in scan.needed.items() if path not in present}
    for layer in layers:
        if add_needed(layer, Scan(lacking, scan.missing), say=alone):
            record_packages(layer)  # nothing else in it comes from a package


def add_needed(layer: Path, scan: Scan, *, say: bool = True) -> bool:
    """Copy what the objects of a layer need, and note what they lack; return whether anything was copied."""

    def holds(path: str) -> bool:
        return os.path.lexists(inside(layer, Path(path)))

    wanted = [path for path, objects in scan.needed.items() if any(map(holds, objects))]
    for path in wanted:
        copy(Path(path), layer)
    note_missing(layer, [each for each in scan.missing if holds(each.path)], say=say)
    return bool(wanted)


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
