"""Write tiny ELF files: headers and a dynamic section, and nothing to run."""

import struct
from collections.abc import Mapping
from pathlib import Path

NEEDED, STRINGS, STRINGS_SIZE, SONAME, RPATH, RUNPATH, FLAGS_1 = 1, 5, 10, 14, 15, 29, 0x6FFFFFFB
X86_64, I386, AARCH64, S390X = 62, 3, 183, 22
BASE = 0x40_0000
"""Where a file is loaded, so that no address is an offset by chance."""


def elf_bytes(
    *,
    needed: tuple[str, ...] = (),
    interpreter: str = "",
    texts: Mapping[int, str] | None = None,
    numbers: Mapping[int, int] | None = None,
    form: tuple[int, str, int] = (64, "<", X86_64),
) -> bytes:
    """Return a shared object, a program where it has an interpreter; `form` is word size, byte order and machine."""
    bits, order, machine = form
    wide = bits == 64
    word, header, entry = ("Q", 64, 56) if wide else ("I", 52, 32)
    strings = b"\0"
    dynamic: list[tuple[int, int]] = []
    for tag, text in (*((NEEDED, name) for name in needed), *(texts or {}).items()):
        dynamic.append((tag, len(strings)))
        strings += text.encode() + b"\0"
    dynamic += (numbers or {}).items()
    count = 3 if interpreter else 2
    start = header + count * entry
    at_strings = start + len(interpreter) + 1
    at_dynamic = at_strings + len(strings)
    dynamic += [(STRINGS, BASE + at_strings), (STRINGS_SIZE, len(strings)), (0, 0)]
    table = b"".join(struct.pack(f"{order}2{word}", *pair) for pair in dynamic)
    whole = at_dynamic + len(table)

    def segment(kind: int, offset: int, size: int) -> bytes:
        if wide:
            return struct.pack(f"{order}IIQQQQQQ", kind, 4, offset, BASE + offset, BASE + offset, size, size, 1)
        return struct.pack(f"{order}IIIIIIII", kind, offset, BASE + offset, BASE + offset, size, size, 4, 1)

    segments = [segment(1, 0, whole), segment(2, at_dynamic, len(table))]
    segments += [segment(3, start, len(interpreter) + 1)] if interpreter else []
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    head = struct.pack(f"{order}HHI3{word}I6H", 3, machine, 1, 0, header, 0, 0, header, entry, count, 0, 0, 0)
    return ident + head + b"".join(segments) + interpreter.encode() + b"\0" + strings + table


def write_library(
    path: Path,
    *needed: str,
    soname: str = "",
    rpath: str = "",
    runpath: str = "",
    form: tuple[int, str, int] = (64, "<", X86_64),
) -> str:
    """Write a shared library, and return its path."""
    texts = {tag: text for tag, text in ((SONAME, soname), (RPATH, rpath), (RUNPATH, runpath)) if text}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(elf_bytes(needed=needed, texts=texts, form=form))
    return str(path)


def write_program(path: Path, interpreter: str, *needed: str, rpath: str = "") -> str:
    """Write a program, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(elf_bytes(needed=needed, interpreter=interpreter, texts={RPATH: rpath} if rpath else {}))
    return str(path)


def cache_bytes(*entries: tuple[str, str], before: bytes = b"") -> bytes:
    """Return a cache of the linker, of names and paths, as ldconfig writes it."""
    head = 48 + 24 * len(entries)
    texts, table = b"", b""
    for entry in entries:
        offsets = []
        for text in entry:
            offsets.append(head + len(texts))
            texts += text.encode() + b"\0"
        table += struct.pack("=iIIIQ", 0x303, *offsets, 0, 0)
    return before + b"glibc-ld.so.cache1.1" + struct.pack("=II20x", len(entries), len(texts)) + table + texts
