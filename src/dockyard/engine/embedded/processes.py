"""Which of the machine's processes belong to the embedded engine."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dockyard.engine.embedded.install import Place

PROC = Path("/proc")
PROGRAMS = frozenset({"dockerd", "containerd", "containerd-shim-runc-v2", "docker-proxy", "runc", "docker-init"})


@dataclass(frozen=True)
class Process:
    """One running process; a zombie, which only waits for its parent, counts as ended and is not listed."""

    pid: int
    parent: int
    argv: tuple[str, ...]

    @property
    def name(self) -> str:
        """The program's name."""
        return self.argv[0].rsplit("/", 1)[-1] if self.argv else ""


def running() -> dict[int, Process]:
    """Return every process of this machine by its id."""
    found = (_read(entry) for entry in PROC.iterdir() if entry.name.isdigit())
    return {process.pid: process for process in found if process}


def daemon(processes: Mapping[int, Process], place: Place) -> int | None:
    """Return the process id of the place's own daemon: known by its settings file, so a reused id fools nobody."""
    ours = (one.pid for one in processes.values() if one.name == "dockerd" and str(place.settings) in one.argv)
    return next(ours, None)


def belonging(processes: Mapping[int, Process], place: Place) -> set[int]:
    """Return the ids of the engine's programs and of all that they started, containers included.

    A program is ours when a word of its command line is one of our paths; other programs that merely name
    such a path, like a pager on the log, are not.
    """
    folders = tuple(f"{folder}/" for folder in (place.home, place.run))

    def is_ours(process: Process) -> bool:
        return process.name in PROGRAMS and any(word.startswith(folders) for word in process.argv)

    found = {process.pid for process in processes.values() if is_ours(process)}
    while more := {process.pid for process in processes.values() if process.parent in found} - found:
        found |= more
    return found


def find_all(place: Place) -> tuple[int | None, set[int]]:
    """Return the process id of the place's daemon, and the ids of all processes that are the engine's."""
    known = running()
    return daemon(known, place), belonging(known, place) | contained(known, place)


def contained(processes: Iterable[int], place: Place) -> set[int]:
    """Return those whose root file system is a layer of the engine: what a killed engine's builds leave running."""
    own, found = (PROC / "self/ns/mnt").readlink(), set()
    for pid in processes:
        with contextlib.suppress(OSError):
            if (PROC / f"{pid}/ns/mnt").readlink() != own:
                mounts = (PROC / f"{pid}/mountinfo").read_text("utf-8", "replace").splitlines()
                if any(line.split()[4] == "/" and str(place.data) in line for line in mounts):
                    found.add(pid)
    return found


def rivals(processes: Mapping[int, Process], place: Place) -> list[Process]:
    """Return other daemons that write Docker's firewall chains in our network namespace."""
    own, network, found = daemon(processes, place), (PROC / "thread-self/ns/net").readlink(), []
    for process in processes.values():
        if process.name == "dockerd" and process.pid != own and "--iptables=false" not in process.argv:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if (PROC / f"{process.pid}/ns/net").readlink() == network:
                    found.append(process)
    return found


def end(pid: int, *, patience: float) -> bool:
    """Ask a process to stop and wait `patience` seconds; return whether it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def kill(pids: Iterable[int]) -> None:
    """Kill processes at once."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs."""
    return _read(PROC / str(pid)) is not None


def _read(entry: Path) -> Process | None:
    try:
        status = (entry / "stat").read_bytes()
        argv = (entry / "cmdline").read_bytes()
    except OSError:
        return None
    state, parent = status[status.rindex(b")") + 2 :].split()[:2]
    words = argv.decode("utf-8", "replace").split("\0")[:-1]
    return None if state in {b"Z", b"X"} else Process(int(entry.name), int(parent), tuple(words))
