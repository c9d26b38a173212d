"""Programs out of Debian's packages, as the embedded engine is: unpacked into the cache, installed nowhere."""

import hashlib
from pathlib import Path

from dockyard import apt
from dockyard.files import alone, cache_folder


def provide_packages(*wanted: str, allow_expired: bool = False) -> Path:
    """Return the folder in which packages are unpacked, each named as runc/bookworm: once for each machine."""
    key = hashlib.sha256("\0".join(wanted).encode()).hexdigest()[:12]
    folder = cache_folder() / "tests" / f"{wanted[0].replace('/', '-')}-{key}"
    with alone(folder.parent / f".{folder.name}.lock"):
        if not folder.is_dir():
            apt.unpack(wanted, folder, allow_expired=allow_expired)
    return folder


def provide_kubectl() -> Path:
    """Return kubectl."""
    return provide_packages("kubectl/trixie") / "usr/bin/kubectl"
