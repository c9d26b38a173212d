"""Show a project's run records with the ledger's pages.

The ledger is a program of its own: it is started, never imported. Its code comes with Dockyard, its dependencies from
the environment where that has them all as locked; else they are installed once, by hash, into the user's cache.
"""

import hashlib
import importlib.metadata
import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dockyard import files, process
from dockyard.errors import CommandError, DockyardError
from dockyard.image.records import FOLDER
from dockyard.locks.pins import parse_pins
from dockyard.process import Command, Runner
from dockyard.settings import Settings

log = logging.getLogger(__name__)

SOURCE = Path(__file__).parents[2]
"""Where Dockyard's own package lies: in a checkout, the ledger is beside it."""
SHIPPED = Path(__file__).parents[1] / "pages"
"""Where an installed Dockyard has the ledger and its locks."""


@dataclass(frozen=True)
class Program:
    """The ledger: the folder that its package is in, and the lock of what it needs on this Python."""

    folder: Path
    lock: Path


def find_program(source: Path = SOURCE, shipped: Path = SHIPPED, python: str = "") -> Program:
    """Return the ledger that this Dockyard came with; raise DockyardError where its locks do not know this Python."""
    python = python or f"{sys.version_info.major}.{sys.version_info.minor}"
    if (shipped / "ledger").is_dir():
        found = Program(shipped, shipped / f"{python}.txt")
    else:
        found = Program(source, source.parent / "requirements" / python / "base.txt")
    if not found.lock.is_file():
        raise DockyardError(
            f"the pages have no lock for Python {python}", "run Dockyard with one of the Pythons that its README names"
        )
    return found


def is_installed(lock: str) -> bool:
    """Say whether this environment has every package that a lock pins here, in that version."""
    from packaging.markers import Marker

    for pin in parse_pins(lock):
        if pin.marker and not Marker(pin.marker).evaluate():
            continue
        try:
            if importlib.metadata.version(pin.name) != pin.version:
                return False
        except importlib.metadata.PackageNotFoundError:
            return False
    return True


def install_packages(lock: Path, environment: Mapping[str, str] = os.environ, runner: Runner = process) -> Path:
    """Return a folder of the user's cache with what a lock pins, installed there once; the index is pip's own."""
    key = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]
    into = files.cache_folder(environment) / "report" / key
    with files.alone(into.parent.with_suffix(".lock")):
        if into.is_dir():
            return into
        log.info("installing what the pages need, once")
        files.make_folder(into.parent)
        with tempfile.TemporaryDirectory(prefix=f".{key}-", dir=into.parent) as scratch:
            made = Path(scratch) / "packages"
            pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")
            options = ("--require-hashes", "--no-deps", f"--target={made}", f"--requirement={lock}")
            try:
                runner.capture(Command((*pip, *options)))
            except CommandError as error:
                said = error.output.strip().rpartition("\n")[2] or error.message
                raise DockyardError(
                    f"what the pages need cannot be installed: {said}",
                    "is the package index in reach? pip's own settings are used",
                ) from None
            made.replace(into)
    return into


@dataclass(frozen=True)
class ReportRequest:
    """How the records are shown: served at a port of this machine (0: a free one), or written to a folder."""

    static: str = ""
    port: int = 0
    browse: bool = False


def show_report(
    settings: Settings, request: ReportRequest, program: Program | None = None, runner: Runner = process
) -> None:
    """Serve the pages until they are stopped, or write them; raise DockyardError where there is no record."""
    folder = settings.root / FOLDER
    if not any(folder.glob("*.json")):
        raise DockyardError(f"there is no run record in {FOLDER}", "`invoke build` makes the first one")
    program = program or find_program()
    paths = [program.folder]
    if not is_installed(program.lock.read_text("utf-8")):
        paths.append(install_packages(program.lock, runner=runner))
    runner.stream(make_command(folder, request, paths))


def make_command(folder: Path, request: ReportRequest, paths: list[Path]) -> Command:
    """Return the command that runs the ledger on a folder of records (pure)."""
    options = (f"--static={Path(request.static).absolute()}",) if request.static else (f"--port={request.port}",)
    browse = ("--browse",) if request.browse and not request.static else ()
    path = os.pathsep.join(str(one) for one in paths)
    return Command((sys.executable, "-m", "ledger.report", *options, *browse, str(folder)), env={"PYTHONPATH": path})
