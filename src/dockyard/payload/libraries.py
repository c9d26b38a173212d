"""Find the shared libraries that programs and compiled modules load, by asking the dynamic linker."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

ELF = b"\x7fELF"
LINKER = re.compile(r"^\s*(/\S+) \(0x", re.MULTILINE)
LOADED = re.compile(r"(/\S+) \(0x")
LOST = re.compile(r"^\s*(\S+) => not found", re.MULTILINE)
"""Lines of ldd and of the dynamic linker: the linker itself, a library that is found, and one that is not."""

BY_NAME = ("libgcc_s.so.1",)
"""Libraries that glibc opens by name at run time: thread cancellation needs this one."""


def find_libraries(roots: Iterable[Path]) -> dict[Path, list[Path]]:
    """Return the libraries, loader included, that each compiled object loads; a root is such an object or a folder.

    End the build where one is missing.
    """
    objects = sorted({path for root in roots for path in (root.resolve(), *root.rglob("*")) if is_elf(path)})
    ask = linker() if objects else ldd
    said = {path: ask(str(path)) for path in objects}
    missing = sorted({f"{path} needs {name}" for path, text in said.items() for name in LOST.findall(text)})
    if missing:
        raise SystemExit(
            "the base image lacks shared libraries:\n  "
            + "\n  ".join(missing)
            + "\ninstall the Debian packages that hold them in the base stage of the Dockerfile"
        )
    return {path: with_opened(LOADED.findall(text)) for path, text in said.items()}


def with_opened(loaded: Iterable[str]) -> list[Path]:
    """Return libraries, and with them those that they open by name."""
    found = {Path(path) for path in loaded}
    beside = {path.parent / name for path in found for name in BY_NAME}
    return sorted(found | {path for path in beside if path.exists()})


def ldd(path: str) -> str:
    """Return what ldd says of an object: which libraries it loads, and which of them are not there."""
    return subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout


def linker() -> Callable[[str], str]:
    """Return what asks the dynamic linker itself, in a fifth of ldd's time, and ldd where a library is missing.

    The linker ends without a word then. Which linker it is, ldd says of this interpreter.
    """
    found = LINKER.search(ldd(str(Path(sys.executable).resolve())))
    if not found:
        return ldd

    def ask(path: str) -> str:
        done = subprocess.run([found[1], "--list", path], capture_output=True, text=True, check=False)
        return ldd(path) if done.returncode else done.stdout

    return ask


def is_elf(path: Path) -> bool:
    """Say whether a file is a program or shared object of this system."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == ELF
