"""Who holds a port: the kernel's tables, read without privileges."""

import ipaddress
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockyard.stack import ports
from dockyard.stack.ports import Listener, Owner

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ROW = "   {number}: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 x\n"
ANY6 = "0" * 32


def address(text: str) -> str:
    """Return an IP address as the kernel of this machine prints it."""
    packed = ipaddress.ip_address(text).packed
    words = [packed[start : start + 4] for start in range(0, len(packed), 4)]
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


def row(host: str, port: int, inode: int, state: str = "0A") -> str:
    """Return one line of /proc/net/tcp."""
    return ROW.format(number=0, local=f"{address(host)}:{port:04X}", state=state, inode=inode)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Return a /proc in which process 42 listens on 127.0.0.1:8000."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(HEADER + row("127.0.0.1", 8000, 777) + row("127.0.0.1", 8000, 778, "01"))
    (tmp_path / "self").mkdir()
    for pid, inode in ((41, 778), (42, 777)):
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / str(pid) / "fd" / "0").symlink_to("/dev/null")
        (tmp_path / str(pid) / "fd" / "3").symlink_to(f"socket:[{inode}]")
        (tmp_path / str(pid) / "cmdline").write_bytes(b"/usr/bin/python3\0-m\0http.server\0--token\0secret\0")
    return tmp_path


def test_parse() -> None:
    """Only sockets that wait for connections count; both families are read."""
    text = HEADER + row("127.0.0.1", 8000, 1) + row("10.0.0.9", 50000, 2, "01") + row("2001:db8::7", 65535, 3)
    assert ports.parse(text) == (
        Listener(ipaddress.ip_address("127.0.0.1"), 8000, 1),
        Listener(ipaddress.ip_address("2001:db8::7"), 65535, 3),
    )


@pytest.mark.skipif(sys.byteorder != "little", reason="the text is from a little-endian machine")
def test_parse_what_a_kernel_printed() -> None:
    """A line copied from a machine reads as the address that was listened at."""
    line = "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 65532        0 23041 1 x\n"
    assert ports.parse(HEADER + line) == (Listener(ipaddress.ip_address("127.0.0.1"), 8080, 23041),)


@pytest.mark.parametrize("text", ["", HEADER, HEADER + "garbage\n"])
def test_parse_nothing(text: str) -> None:
    """A table without a socket, or with a line of another form, holds no listener."""
    assert ports.parse(text) == ()


@pytest.mark.parametrize(
    ("listening", "wanted", "expected"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "", True),
        ("::", "127.0.0.1", True),
        ("::1", "127.0.0.1", False),
        ("::1", "", True),
        ("0.0.0.0", "::1", False),
    ],
)
def test_overlap(listening: str, wanted: str, expected: bool) -> None:
    """A socket for every address stands in the way of each, and the other way round."""
    assert ports.overlap(ipaddress.ip_address(listening), wanted) is expected


def test_owner(proc: Path) -> None:
    """The process is found by its socket, and shown by the beginning of its command alone."""
    assert ports.owner("127.0.0.1", 8000, proc) == Owner(42, "python3 -m http.server")
    assert ports.owner("", 8000, proc) == Owner(42, "python3 -m http.server")


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 8001), ("127.0.0.2", 8000)])
def test_owner_of_another_port(proc: Path, host: str, port: int) -> None:
    """A process that listens elsewhere does not own this port."""
    assert ports.owner(host, port, proc) is None


def test_owner_that_may_not_be_seen(proc: Path) -> None:
    """Another user's process, whose descriptors cannot be read, gives no owner and no error."""
    (proc / "42" / "fd" / "3").unlink()
    assert ports.owner("127.0.0.1", 8000, proc) is None


def test_owner_without_proc(tmp_path: Path) -> None:
    """A system without /proc gives no owner and no error."""
    assert ports.owner("127.0.0.1", 8000, tmp_path / "absent") is None


def test_owner_that_just_ended(proc: Path) -> None:
    """A process that ends in between keeps its number; a long command is cut."""
    (proc / "42" / "cmdline").unlink()
    assert ports.owner("127.0.0.1", 8000, proc) == Owner(42, "?")
    (proc / "42" / "cmdline").write_bytes(b"x" * 100)
    found = ports.owner("127.0.0.1", 8000, proc)
    assert found is not None
    assert found.command == "x" * 59 + "…"


@pytest.fixture
def listening() -> Iterator[int]:
    """Yield a port of 127.0.0.1 on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_taken(listening: int) -> None:
    """A port with a listener is taken, for its own address and for every address."""
    assert ports.taken("127.0.0.1", listening)
    assert ports.taken("", listening)
    assert not ports.taken("127.0.0.2", listening)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_taken_where_it_cannot_be_told(host: str) -> None:
    """An address that this machine does not have is the engine's to refuse."""
    assert not ports.taken(host, 8000)


def test_next_free(listening: int) -> None:
    """The next free port is above the taken one, and the last port has none above it."""
    free = ports.next_free("127.0.0.1", listening)
    assert free is not None
    assert free > listening
    assert ports.next_free("127.0.0.1", 65535) is None


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux")
def test_owner_on_this_machine(listening: int) -> None:
    """This very process is found in the real /proc."""
    found = ports.owner("127.0.0.1", listening)
    assert found is not None
    assert Path(f"/proc/{found.pid}").samefile("/proc/self")
