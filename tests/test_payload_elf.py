"""Headers of ELF files, written byte by byte."""

import struct
from pathlib import Path

import pytest

from dockyard.payload.elf import Kind, Object, parse_object, read_object
from tests.elf_files import AARCH64, FLAGS_1, I386, RPATH, RUNPATH, S390X, SONAME, X86_64, elf_bytes

FORMS = ((64, "<", X86_64), (32, "<", I386), (64, "<", AARCH64), (64, ">", S390X), (32, ">", 20))


def parsed(data: bytes) -> Object | None:
    """Return what the bytes of a file say."""
    return parse_object(lambda offset, size: data[offset : offset + size])


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_library_says_what_it_needs(form: tuple[int, str, int]) -> None:
    """In both word sizes and byte orders: name, needs in their order, and paths apart."""
    data = elf_bytes(
        needed=("libb.so.2", "liba.so.1"), texts={SONAME: "libown.so.3", RPATH: "$ORIGIN/../x.libs:/opt/lib"}, form=form
    )
    kind = Kind(form[0], "little" if form[1] == "<" else "big", form[2])
    assert parsed(data) == Object(kind, "libown.so.3", ("libb.so.2", "liba.so.1"), ("$ORIGIN/../x.libs", "/opt/lib"))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_program_names_its_loader(form: tuple[int, str, int]) -> None:
    """The interpreter is what the kernel starts in place of the program."""
    found = parsed(elf_bytes(needed=("libc.so.6",), interpreter="/lib64/ld-linux-x86-64.so.2", form=form))
    assert found
    assert (found.interpreter, found.needed) == ("/lib64/ld-linux-x86-64.so.2", ("libc.so.6",))


def test_rpath_does_not_count_beside_runpath() -> None:
    """The linker ignores the older of the two tags where both are."""
    found = parsed(elf_bytes(texts={RPATH: "/old", RUNPATH: "/new::/newer"}))
    assert found
    assert (found.rpath, found.runpath) == ((), ("/new", "/newer"))


@pytest.mark.parametrize(("flags", "default"), [(0, True), (0x800, False), (0x8000801, False), (0x1, True)])
def test_an_object_may_forbid_the_default_folders(flags: int, default: bool) -> None:
    """One bit among others says so."""
    found = parsed(elf_bytes(numbers={FLAGS_1: flags}))
    assert found
    assert found.default_paths is default


@pytest.mark.parametrize(
    "data",
    [b"", b"\x7fELF", b"#!/bin/sh\n" + bytes(90), b"\x7fELF\x03\x01" + bytes(60), b"\x7fELF\x02\x03" + bytes(60)],
    ids=["empty", "short", "script", "word size", "byte order"],
)
def test_what_is_no_elf_file(data: bytes) -> None:
    """Anything else is nothing to load."""
    assert parsed(data) is None


@pytest.mark.parametrize("number", [1, 4])
def test_objects_that_nothing_loads(number: int) -> None:
    """Object files for the compiler's linker and core dumps are ELF files too."""
    data = bytearray(elf_bytes(needed=("libc.so.6",)))
    struct.pack_into("<H", data, 16, number)
    assert parsed(bytes(data)) is None


def test_a_static_program_needs_nothing(tmp_path: Path) -> None:
    """Without a dynamic section, as Go's compiler makes them."""
    data = bytearray(elf_bytes(needed=("libc.so.6",)))
    struct.pack_into("<I", data, 64 + 56, 4)  # the dynamic segment becomes a note
    (tmp_path / "static").write_bytes(data)
    assert read_object(str(tmp_path / "static")) == Object(Kind(64, "little", X86_64))


@pytest.mark.parametrize("length", [70, 130, 200, 230])
def test_a_file_that_is_cut_short(tmp_path: Path, length: int) -> None:
    """A broken file is nothing to load, and ends no scan."""
    (tmp_path / "cut").write_bytes(elf_bytes(needed=("libc.so.6",), texts={SONAME: "libcut.so.1"})[:length])
    found = read_object(str(tmp_path / "cut"))
    assert found is None or not found.needed


def test_a_file_that_asks_for_the_impossible(tmp_path: Path) -> None:
    """Sizes and addresses beyond the file are no reason to read gigabytes."""
    data = bytearray(elf_bytes(needed=("libc.so.6",)))
    struct.pack_into("<Q", data, 64 + 56 + 32, 1 << 62)
    (tmp_path / "huge").write_bytes(data)
    assert read_object(str(tmp_path / "huge")) is None


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    """A folder, or nothing at all."""
    assert read_object(str(tmp_path)) is None
    assert read_object(str(tmp_path / "absent")) is None
