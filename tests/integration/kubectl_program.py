"""kubectl out of Debian's packages, as the embedded engine is: unpacked into the cache, installed nowhere."""

import fcntl
from pathlib import Path

from dockyard import apt
from dockyard.files import cache_folder

RELEASE = "trixie"


def provide_kubectl() -> Path:
    """Return the program, fetched once for each machine."""
    folder = cache_folder() / "tests" / f"kubectl-{RELEASE}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "kubectl.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "usr/bin/kubectl").is_file():
            apt.unpack((f"kubectl/{RELEASE}",), folder)
    return folder / "usr/bin/kubectl"
