"""Read what an ELF file says of itself: its machine, its name, and what it needs to be loaded.

Only the program headers and the dynamic section are read, as the dynamic linker itself does: sections may be stripped.
"""

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MAGIC = b"\x7fELF"
PROGRAM, SHARED = 2, 3
"""File types that can be loaded; objects for the compiler's linker and core dumps cannot."""
LOAD, DYNAMIC, INTERPRETER = 1, 2, 3
"""Kinds of program headers."""
END, NEEDED, STRINGS, SONAME, RPATH, RUNPATH, FLAGS_1 = 0, 1, 5, 14, 15, 29, 0x6FFFFFFB
"""Tags of the dynamic section."""
NO_DEFAULT_LIBRARIES = 0x800
LARGEST = 1 << 20
"""More bytes than any sound table of these has: what asks for more is broken."""

Read = Callable[[int, int], bytes]
"""Reads so many bytes at an offset; fewer where the file ends."""


@dataclass(frozen=True)
class Kind:
    """What programs and libraries must have in common to be loaded together: word size, byte order, processor."""

    bits: int
    order: str
    machine: int


@dataclass(frozen=True)
class Object:
    """A program or shared library, as its headers describe it; paths keep $ORIGIN and its like."""

    kind: Kind
    soname: str = ""
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    interpreter: str = ""
    default_paths: bool = True


def read_object(path: str) -> Object | None:
    """Return what a file says of itself; None where it is no ELF file that could be loaded, or is broken."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return parse_object(lambda offset, size: os.pread(file, size, offset))
    except (OSError, ValueError, OverflowError, struct.error):
        return None
    finally:
        os.close(file)


def parse_object(read: Read) -> Object | None:
    """Return what the bytes of a file say; raise ValueError or struct.error where they contradict themselves."""
    head = read(0, 64)
    if head[:4] != MAGIC or len(head) < 52 or head[4] not in (1, 2) or head[5] not in (1, 2):
        return None
    wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
    file_type, machine = struct.unpack_from(f"{order}HH", head, 16)
    if file_type not in (PROGRAM, SHARED):
        return None
    kind = Kind(64 if wide else 32, "little" if order == "<" else "big", machine)
    segments = list(read_segments(read, head, wide, order))
    interpreter = "".join(read_text(read, offset) for what, offset, _, _ in segments if what == INTERPRETER)
    entries = [
        entry
        for what, offset, _, size in segments
        if what == DYNAMIC
        for entry in read_dynamic(read(offset, bounded(size)), wide, order)
    ]
    values = dict(entries)
    if STRINGS not in values:
        return Object(kind, interpreter=interpreter)
    strings = file_offset(segments, values[STRINGS])

    def texts(tag: int) -> tuple[str, ...]:
        return tuple(read_text(read, strings + value) for each, value in entries if each == tag)

    def paths(tag: int) -> tuple[str, ...]:
        return tuple(path for text in texts(tag) for path in text.split(":") if path)

    return Object(
        kind,
        "".join(texts(SONAME)[:1]),
        texts(NEEDED),
        () if RUNPATH in values else paths(RPATH),  # the linker takes no notice of it then
        paths(RUNPATH),
        interpreter,
        not values.get(FLAGS_1, 0) & NO_DEFAULT_LIBRARIES,
    )


def read_segments(read: Read, head: bytes, wide: bool, order: str) -> Iterator[tuple[int, int, int, int]]:
    """Yield kind, offset, address and size in the file of each program header."""
    if wide:
        (start,), (entry, count) = (
            struct.unpack_from(f"{order}Q", head, 32),
            struct.unpack_from(f"{order}HH", head, 54),
        )
        form, kind, offset, address, size = f"{order}IIQQQQ", 0, 2, 3, 5
    else:
        (start,), (entry, count) = (
            struct.unpack_from(f"{order}I", head, 28),
            struct.unpack_from(f"{order}HH", head, 42),
        )
        form, kind, offset, address, size = f"{order}IIIII", 0, 1, 2, 4
    table = read(start, bounded(entry * count))
    for number in range(count):
        fields = struct.unpack_from(form, table, number * entry)
        yield fields[kind], fields[offset], fields[address], fields[size]


def read_dynamic(table: bytes, wide: bool, order: str) -> Iterator[tuple[int, int]]:
    """Yield tag and value of the dynamic section's entries, up to the one that ends it."""
    form = struct.Struct(f"{order}QQ" if wide else f"{order}II")
    whole = len(table) // form.size * form.size
    for tag, value in form.iter_unpack(table[:whole]):
        if tag == END:
            return
        yield tag, value


def file_offset(segments: list[tuple[int, int, int, int]], address: int) -> int:
    """Return where in the file lies what is loaded to an address; raise ValueError where nothing does."""
    for kind, offset, start, size in segments:
        if kind == LOAD and start <= address < start + size:
            return offset + address - start
    raise ValueError(f"no segment holds the address {address:#x}")


def read_text(read: Read, offset: int) -> str:
    """Return the text at an offset, which a zero byte ends."""
    found = b""
    while b"\0" not in found:
        more = read(offset + len(found), 256)
        found += more
        if not more or len(found) > LARGEST:
            raise ValueError(f"the text at {offset:#x} has no end")
    return os.fsdecode(found.partition(b"\0")[0])


def bounded(size: int) -> int:
    """Return a size that a file asks for; raise ValueError for one that only a broken file has."""
    if size > LARGEST:
        raise ValueError(f"a table of {size} bytes")
    return size
