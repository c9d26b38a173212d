"""A private Docker Engine for a machine that has none, unpacked into the user's cache from Debian packages."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dockyard.engine.embedded import install, lifecycle, processes
from dockyard.engine.embedded.paths import Place, place
from dockyard.engine.socket import info

__all__ = ["Place", "Status", "environment", "here", "remove", "running", "start", "status", "stop"]


@dataclass(frozen=True)
class Status:
    """How the embedded engine is doing; `disk` in bytes, 0 where nothing was unpacked yet."""

    running: bool
    version: str
    pid: int | None
    socket: Path
    data_root: Path
    disk: int
    containers: int


def here() -> Place:
    """Return the place of this user's embedded engine."""
    return place(os.environ)


def environment(where: Place) -> dict[str, str]:
    """Return what commands need to talk to the engine."""
    install.link_credentials(where, os.environ)
    return install.client_environment(where, os.environ.get("PATH", ""))


def start(*, allow_expired: bool = False) -> dict[str, Any]:
    """Start the engine unless it runs, and return its own description (the API's /info)."""
    return lifecycle.start(here(), allow_expired=allow_expired)


def stop() -> bool:
    """Stop the engine and put the host back; return whether there was anything to do."""
    return lifecycle.stop(here())


def remove() -> bool:
    """Stop the engine and delete everything of it; return whether there was anything."""
    return lifecycle.remove(here())


def running() -> dict[str, Any] | None:
    """Return what the engine says of itself, or None where it does not answer."""
    return info(here().socket)


def status() -> Status:
    """Return how the engine is doing, without changing anything."""
    where = here()
    answer = running() or {}
    return Status(
        running=bool(answer),
        version=version(answer),
        pid=processes.daemon(processes.running(), where),
        socket=where.socket,
        data_root=where.data,
        disk=disk_used(where.home),
        containers=int(answer.get("Containers", 0)),
    )


def version(answer: Mapping[str, Any]) -> str:
    """Return the engine's version without Debian's additions: 26.1.5+dfsg1 is 26.1.5."""
    return str(answer.get("ServerVersion", "")).partition("+")[0]


def disk_used(folder: Path) -> int:
    """Return the bytes on disk below a folder, without what other file systems are mounted there."""
    try:
        device = folder.lstat().st_dev
    except OSError:
        return 0
    total, waiting = 0, [str(folder)]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            total += found.st_blocks * 512
            if entry.is_dir(follow_symlinks=False) and found.st_dev == device:
                waiting.append(entry.path)
    return total
