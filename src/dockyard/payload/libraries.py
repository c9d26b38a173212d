"""Give layers the shared libraries that what is in them needs, and note what is nowhere."""

import os
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .files import UNWANTED_MODULES, copy, find_objects, inside, record_packages
from .linker import Scan, System, read_system, scan_libraries
from .missing import note_missing


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
