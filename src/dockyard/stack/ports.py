"""Say whether a port of this machine is taken, and by which program: Linux tells in /proc."""

import contextlib
import errno
import ipaddress
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

LISTEN = "0A"
PROC = Path("/proc")
SHOWN_CHARACTERS = 60
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Listener:
    """A TCP socket that waits for connections; `inode` names it in /proc/PID/fd."""

    address: Address
    port: int
    inode: int


@dataclass(frozen=True)
class Owner:
    """The process that holds a port, and the beginning of its command line."""

    pid: int
    command: str


def taken(host: str, port: int) -> bool:
    """Return whether a program listens where `host` (empty: everywhere) would be bound; never raises."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family) as probe:
        # With this option a port that only lingers after a connection counts as free, as it does for the engine.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def next_free(host: str, port: int, tries: int = 100) -> int | None:
    """Return the first free port after `port`, or None where none of the next `tries` is."""
    following = range(port + 1, min(port + 1 + tries, 65536))
    return next((candidate for candidate in following if not taken(host, candidate)), None)


def owner(host: str, port: int, proc: Path = PROC) -> Owner | None:
    """Return the process that listens there, or None where this user may not know or the system does not tell."""
    found: list[Listener] = []
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            found += parse(proc.joinpath("net", name).read_text(encoding="ascii"))
    inodes = {listener.inode for listener in found if listener.port == port and overlap(listener.address, host)}
    pid = _holder(inodes, proc)
    return None if pid is None else Owner(pid, _command(proc / str(pid)))


def parse(table: str) -> tuple[Listener, ...]:
    """Return the listening sockets in the text of /proc/net/tcp or tcp6 (pure)."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return tuple(_listener(row) for row in rows if len(row) > 9 and row[3] == LISTEN)


def _listener(row: list[str]) -> Listener:
    address, port = row[1].split(":")
    return Listener(_address(address), int(port, 16), int(row[9]))


def _address(text: str) -> Address:
    """Read an address as the kernel prints it: words of 32 bits, each in the machine's own byte order."""
    words = (int(text[start : start + 8], 16).to_bytes(4, sys.byteorder) for start in range(0, len(text), 8))
    return ipaddress.ip_address(b"".join(words))


def overlap(address: Address, host: str) -> bool:
    """Return whether a socket at `address` stands in the way of one at `host`; empty is every address (pure)."""
    if not host:
        return True
    wanted = ipaddress.ip_address(host)
    if address.version == wanted.version:
        return address == wanted or address.is_unspecified or wanted.is_unspecified
    # A socket for every IPv6 address takes the IPv4 ones too, unless it asked not to.
    return address.is_unspecified if address.version == 6 else wanted.is_unspecified


def _holder(inodes: Iterable[int], proc: Path) -> int | None:
    links = {f"socket:[{inode}]" for inode in inodes}
    if not links:
        return None
    for folder in _processes(proc):
        # Processes end while we look, and those of other users may not be looked at.
        with contextlib.suppress(OSError):
            for descriptor in (folder / "fd").iterdir():
                if _target(descriptor) in links:
                    return int(folder.name)
    return None


def _processes(proc: Path) -> Iterator[Path]:
    return (folder for folder in sorted(proc.iterdir()) if folder.name.isdecimal())


def _target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)  # noqa: PTH115 - Path.readlink makes "socket:[1]" a path for nothing
    except OSError:
        return ""


def _command(folder: Path) -> str:
    try:
        words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "?"
    text = " ".join([Path(words[0]).name, *words[1:3]]).strip()
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
