"""Shared libraries in the layers of a minimal image, with a base image of tiny ELF files."""

from pathlib import Path

import pytest

from dockyard.payload.files import inside
from dockyard.payload.libraries import NOTES, Base, add_libraries, add_runtime_libraries
from dockyard.payload.linker import System
from tests.elf_files import write_library, write_program


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the folder of a base image: libraries in lib, with a link as Debian has them, and Python."""
    root = tmp_path.resolve() / "base"
    loader = write_library(root / "usr/lib/ld.so")
    write_program(root / "usr/bin/python3.13", loader, "libc.so.6")
    write_library(root / "usr/lib/libc.so.6", "ld.so", soname="libc.so.6")
    write_library(root / "usr/lib/libz.so.1.3", soname="libz.so.1")
    write_library(root / "usr/lib/libpq.so.5", "libz.so.1", soname="libpq.so.5")
    (root / "usr/lib/libz.so.1").symlink_to("libz.so.1.3")
    (root / "lib").symlink_to("usr/lib")
    for name, needed in (("zlib", "libz.so.1"), ("_tkinter", "libtk8.6.so"), ("_testcapi", "libno.so.1")):
        write_library(root / "usr/lib/python3.13/lib-dynload" / f"{name}.cpython-313.so", needed)
    return root


@pytest.fixture
def base(root: Path) -> Base:
    """Return that base image."""
    system = System((str(root / "lib"),))
    return Base(str(root / "usr/bin/python3.13"), root / "usr/lib/python3.13/lib-dynload", system)


def brought(layer: Path, root: Path) -> list[str]:
    """Return the files and links that a layer has of the base image."""
    there = inside(layer, root)
    return sorted(str(path.relative_to(there)) for path in there.rglob("*") if not path.is_dir())


def notes(layer: Path) -> str:
    """Return what a layer says is missing."""
    note = inside(layer, NOTES) / layer.name
    return note.read_text("utf-8") if note.exists() else ""


def layers_of(tmp_path: Path, venv: Path, *names: str) -> list[Path]:
    """Return layers, each with one of an environment's files."""
    made = [tmp_path / "layers" / str(number) for number, _ in enumerate(names, 1)]
    for layer, name in zip(made, names, strict=True):
        target = inside(layer, venv) / name
        target.parent.mkdir(parents=True)
        target.hardlink_to(venv / name)
    return made


def test_the_runtime_has_what_python_and_its_modules_need(root: Path, base: Base, tmp_path: Path) -> None:
    """Links with what they name; and nothing for modules that are not taken along."""
    layer = tmp_path / "runtime"
    for module in ("zlib", "_tkinter"):
        inside(layer, base.modules).mkdir(parents=True, exist_ok=True)
        (inside(layer, base.modules) / f"{module}.cpython-313.so").touch()
    (inside(layer, Path(base.python)).parent).mkdir(parents=True)
    inside(layer, Path(base.python)).touch()
    add_runtime_libraries(layer, [], base)
    libraries = [path for path in brought(layer, root) if path.startswith("usr/lib/l")]
    assert libraries == ["usr/lib/ld.so", "usr/lib/libc.so.6", "usr/lib/libz.so.1", "usr/lib/libz.so.1.3"]
    assert notes(layer) == ""


def test_what_is_kept_brings_its_libraries(root: Path, base: Base, tmp_path: Path) -> None:
    """A plugin that nothing is linked to; a library that it lacks is noted."""
    layer = tmp_path / "runtime"
    plugin = root / "usr/lib/plugins"
    write_library(plugin / "driver.so", "libpq.so.5", "libgone.so.2")
    inside(layer, plugin).mkdir(parents=True)
    (inside(layer, plugin) / "driver.so").touch()
    add_runtime_libraries(layer, [plugin], base)
    assert "usr/lib/libpq.so.5" in brought(layer, root)
    assert notes(layer).split("\t")[:2] == [str(plugin / "driver.so"), "libgone.so.2"]


def test_layers_bring_the_libraries_that_their_part_needs_and_the_runtime_lacks(
    root: Path, base: Base, tmp_path: Path
) -> None:
    """Not those of the standard library's modules, nor what another layer's part brings."""
    venv = tmp_path.resolve() / "venv"
    write_library(venv / "fast/_fast.so", "libpq.so.5", "libarrow.so.1", "libz.so.1")
    write_library(venv / "arrow/libarrow.so.1", "libz.so.1")
    made = layers_of(tmp_path, venv, "fast/_fast.so", "arrow/libarrow.so.1")
    add_libraries(made, venv, base)
    assert [brought(layer, root) for layer in made] == [["usr/lib/libpq.so.5"], []]
    assert [notes(layer) for layer in made] == ["", ""]


def test_what_is_missing_is_said_and_noted_where_it_is_missed(
    base: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The build goes on: whether it matters is for whoever verifies the image."""
    venv = tmp_path.resolve() / "venv"
    write_library(venv / "one/_one.so", "libodbc.so.2")
    write_library(venv / "two/_two.so", "libown.so")
    made = layers_of(tmp_path, venv, "one/_one.so", "two/_two.so")
    add_libraries(made, venv, base)
    assert [notes(layer) for layer in made] == [
        f"{venv}/one/_one.so\tlibodbc.so.2\tusually in the Debian package libodbc2\n",
        f"{venv}/two/_two.so\tlibown.so\t\n",
    ]
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"missing shared library: libodbc.so.2, needed by {venv}/one/_one.so; usually in the Debian package libodbc2",
        f"missing shared library: libown.so, needed by {venv}/two/_two.so",
    ]


def test_what_another_stage_may_bring_is_noted_and_not_said(
    base: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The project's own module may be linked to a library of the environment, which this stage has not."""
    app = tmp_path.resolve() / "app"
    write_library(app / "_own.so", "libarrow.so.1")
    (made,) = layers_of(tmp_path, app, "_own.so")
    add_libraries([made], app, base, alone=False)
    assert notes(made).startswith(f"{app}/_own.so\tlibarrow.so.1\t")
    assert capsys.readouterr().err == ""
