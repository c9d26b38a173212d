"""Shared libraries of real wheels: what a scan says of them is what the dynamic linker does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dockyard.payload.files import find_objects
from dockyard.payload.linker import Scan, read_system, scan_libraries

WHEELS = ("pillow==12.2.0", "numpy", "scipy", "shapely", "h5py", "ninja", "cmake", "debugpy")
OLDER = ("psycopg2-binary==2.9.10",) if sys.version_info < (3, 14) else ()
"""It has no wheel for newer Pythons."""

MODULES = ("PIL._imaging", "PIL._avif", "numpy", "scipy.linalg", "scipy.sparse", "shapely", "h5py")
MAPPED = """
import importlib, sys
importlib.import_module(sys.argv[1])
print(*sorted({line.split(None, 5)[5].strip() for line in open("/proc/self/maps") if ".so" in line}), sep="\\n")
"""
"""Imports a module, and prints the libraries that the process has then."""


@pytest.fixture(scope="module")
def python() -> str:
    """Return the program that runs extension modules here."""
    return str(Path(sys.executable).resolve())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with wheels as pip installs them."""
    target = tmp_path_factory.mktemp("wheels").resolve()
    options = ("--quiet", "--only-binary=:all:", "--no-compile", f"--target={target}")
    subprocess.run((sys.executable, "-m", "pip", "install", *options, *WHEELS, *OLDER), check=True)
    return target


@pytest.fixture(scope="module")
def scan(site: Path, python: str) -> Scan:
    """Return what the wheels need of this system."""
    return scan_libraries(find_objects(str(site)), read_system(), python)


def test_nothing_is_missing_that_is_bundled(scan: Scan) -> None:
    """Bundled libraries are found, and objects for other processors, as debugpy brings, ask for none."""
    assert scan.missing == ()


def test_programs_need_the_base_image_too(scan: Scan, site: Path) -> None:
    """Those that wheels bring are linked to a library that Python is not."""
    assert subprocess.run((site / "bin/ninja", "--version"), capture_output=True, check=False).returncode == 0
    objects = {path for library, paths in scan.needed.items() if "libstdc++.so" in library for path in paths}
    assert str(site / "bin/ninja") in objects
    assert any(path.startswith(str(site / "cmake")) for path in objects)


@pytest.mark.parametrize("module", [*MODULES, *(["psycopg2"] if OLDER else [])])
def test_what_a_process_has_loaded_is_what_the_scan_found(scan: Scan, site: Path, python: str, module: str) -> None:
    """Every library from outside that an import brings in is needed, or Python's own, or its standard library's."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run((python, "-c", MAPPED, module), env=environment, capture_output=True, text=True, check=True)
    mapped = {Path(path).resolve() for path in done.stdout.splitlines() if not path.startswith(str(site))}
    library = Path(os.__file__).parent
    own = scan_libraries((python, *find_objects(str(library / "lib-dynload"))), read_system(), python)
    known = {Path(path).resolve() for path in (*scan.needed, *own.needed)}
    assert {path for path in mapped if not path.is_relative_to(library)} <= known
