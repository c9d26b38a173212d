"""Say which libraries the linker knows by name, as `ldconfig -p` does: ctypes.util.find_library asks it.

This file runs alone, in the minimal image, in place of a program of a megabyte. The linker's cache is the base image's:
it names libraries that were not taken along, and those are left out here.
"""

import os
import struct
import sys
from pathlib import Path

CACHE = Path("/etc/ld.so.cache")
MAGIC = b"glibc-ld.so.cache1.1"


def list_libraries(cache: bytes) -> list[str]:
    """Return a line for each library of a cache that is there, in the cache's order."""
    start = cache.find(MAGIC)
    if start < 0:
        return []
    kind = "libc6,x86-64" if os.uname().machine == "x86_64" and sys.maxsize > 1 << 32 else "libc6"
    (count,) = struct.unpack_from("=I", cache, start + 20)
    offsets = (start + struct.unpack_from("=I", cache, start + 48 + 24 * number + 8)[0] for number in range(count))
    paths = dict.fromkeys(Path(os.fsdecode(cache[at : cache.index(b"\0", at)])) for at in offsets)
    return [f"\t{path.name} ({kind}) => {path}" for path in paths if path.exists()]


if __name__ == "__main__":
    print(*list_libraries(CACHE.read_bytes() if CACHE.is_file() else b""), sep="\n")  # noqa: T201
