"""Which shared libraries programs and modules load."""

import subprocess
import sys
from pathlib import Path

import pytest

from dockyard.payload import libraries

pytestmark = pytest.mark.processes  # the dynamic linker is asked


def test_is_elf(tmp_path: Path) -> None:
    """Programs are told by their first bytes; links and folders are none."""
    (tmp_path / "program").write_bytes(b"\x7fELF\x02")
    (tmp_path / "text").write_text("#!/bin/sh")
    (tmp_path / "empty").write_text("")
    (tmp_path / "link").symlink_to("program")
    names = ("program", "text", "empty", "link", "absent", ".")
    assert [name for name in names if libraries.is_elf(tmp_path / name)] == ["program"]


def test_libraries_of_this_interpreter() -> None:
    """The loader and the C library are among what a real program needs."""
    loads = libraries.find_libraries([Path(sys.executable), Path(__file__)])
    assert list(loads) == [Path(sys.executable).resolve()]
    (found,) = loads.values()
    names = {path.name for path in found}
    assert any(name.startswith("libc.") for name in names)
    assert any(name.startswith("ld-") for name in names)
    assert all(path.exists() for path in found)


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The build fails with the object, the library and what to do."""
    (tmp_path / "x.so").write_bytes(b"\x7fELF")

    def ldd(arguments: list[str], **_options: object) -> "subprocess.CompletedProcess[str]":
        said = "\tlibpq.so.5 => not found\n\tlibc.so.6 => /lib/libc.so.6 (0x0000)\n"
        return subprocess.CompletedProcess(arguments, 0, said)

    monkeypatch.setattr(subprocess, "run", ldd)
    with pytest.raises(SystemExit) as caught:
        libraries.find_libraries([tmp_path / "x.so"])
    assert f"{tmp_path / 'x.so'} needs libpq.so.5" in str(caught.value)
    assert "base stage of the Dockerfile" in str(caught.value)


def test_each_missing_library_is_told_with_its_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every object is asked about by itself: libraries of one name in two packages are not taken for each other."""
    objects = [tmp_path / "a.so", tmp_path / "b.so"]
    for path in objects:
        path.write_bytes(libraries.ELF)
    asked: list[list[str]] = []

    def linker(arguments: list[str], **_options: object) -> "subprocess.CompletedProcess[str]":
        asked.append(arguments)
        if arguments[1] == "--list":  # as glibc's does where a library is missing
            return subprocess.CompletedProcess(arguments, 127, "")
        lost = f"\tlib{Path(arguments[-1]).stem}.so.1 => not found\n"
        said = f"{lost}\tlibz.so.1 => /lib/z (0x1)\n\t/lib/ld-linux.so (0x2)\n"
        return subprocess.CompletedProcess(arguments, 0, said)

    monkeypatch.setattr(subprocess, "run", linker)
    with pytest.raises(SystemExit) as caught:
        libraries.find_libraries(objects)
    python = str(Path(sys.executable).resolve())
    each = [words for path in objects for words in (["/lib/ld-linux.so", "--list", str(path)], ["ldd", str(path)])]
    assert asked == [["ldd", python], *each]
    assert "a.so needs liba.so.1\n" in str(caught.value)
    assert "b.so needs libb.so.1\n" in str(caught.value)
