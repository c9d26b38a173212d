"""Which of the machine's processes belong to the embedded engine."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
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
    return {process.pid: process for entry in PROC.iterdir() if entry.name.isdigit() for process in _read(entry)}


def daemon(processes: Mapping[int, Process], place: Place) -> int | None:
    """Return the process id of the place's own daemon: known by its settings file, so a reused id fools nobody."""
    for process in processes.values():
        if process.name == "dockerd" and str(place.settings) in process.argv:
            return process.pid
    return None


def belonging(processes: Mapping[int, Process], place: Place) -> set[int]:
    """Return the ids of the engine's programs and of all that they started, containers included.

    A program is ours when a word of its command line is one of our paths; other programs that merely name
    such a path, like a pager on the log, are not.
    """
    folders = tuple(f"{folder}/" for folder in (place.home, place.run))

    def is_ours(process: Process) -> bool:
        return process.name in PROGRAMS and any(word.startswith(folders) for word in process.argv)

    return descendants(processes, {process.pid for process in processes.values() if is_ours(process)})


def find_all(place: Place) -> tuple[int | None, set[int]]:
    """Return the process id of the place's daemon, and the ids of all processes that are the engine's."""
    known = running()
    return daemon(known, place), belonging(known, place) | contained(known, place)


def descendants(processes: Mapping[int, Process], found: set[int]) -> set[int]:
    """Return some processes with their children, and theirs."""
    found = set(found)
    while more := {process.pid for process in processes.values() if process.parent in found} - found:
        found |= more
    return found


def contained(processes: Iterable[int], place: Place) -> set[int]:
    """Return those whose root file system is a layer of the engine: what a killed engine's builds leave running."""
    own = _link(PROC / "self/ns/mnt")
    return {pid for pid in processes if _link(PROC / f"{pid}/ns/mnt") != own and _roots_in(pid, str(place.data))}


def rivals(processes: Mapping[int, Process], place: Place) -> list[Process]:
    """Return other daemons that write Docker's firewall chains in our network namespace."""
    own, network = daemon(processes, place), _link(PROC / "thread-self/ns/net")
    return [
        process
        for process in processes.values()
        if process.name == "dockerd"
        and process.pid != own
        and "--iptables=false" not in process.argv
        and _link(PROC / f"{process.pid}/ns/net") == network
    ]


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
    return any(True for _ in _read(PROC / str(pid)))


def _read(entry: Path) -> Iterator[Process]:
    try:
        status = (entry / "stat").read_bytes()
        argv = (entry / "cmdline").read_bytes()
    except OSError:
        return
    state, parent = status[status.rindex(b")") + 2 :].split()[:2]
    if state not in {b"Z", b"X"}:
        words = argv.decode("utf-8", "replace").split("\0")[:-1]
        yield Process(int(entry.name), int(parent), tuple(words))


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def _roots_in(pid: int, folder: str) -> bool:
    try:
        mounts = (PROC / f"{pid}/mountinfo").read_text("utf-8", "replace")
    except OSError:
        return False
    return any(line.split()[4] == "/" and folder in line for line in mounts.splitlines())
