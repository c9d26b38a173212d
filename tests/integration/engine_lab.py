"""Several engines on one machine, each in a network of its own, joined by a bridge: nodes, and a place for a loader.

A keeper, a process of its own, makes the networks and runs the engines; all are gone with it, however its user ends.
Nothing of the host's network changes. What talks to the nodes over the network enters the hub, where the bridge is.
"""

import contextlib
import ctypes
import functools
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path
from typing import Any, TypeVar

from dockyard import process
from dockyard.engine import client as engines
from dockyard.engine.client import Engine
from dockyard.engine.embedded import install, lifecycle, processes
from dockyard.engine.embedded.install import Place
from dockyard.engine.embedded.network import ADD_BRIDGE, SET_ADDRESS, SET_FLAGS, SET_NETMASK, UP
from dockyard.process import Command, Completed, capture
from tests.integration.second_engine import ROOT, place, words

T = TypeVar("T")
GET_FLAGS = 0x8913
NEW_NETWORK, NEW_NAMES = 0x40000000, 0x04000000
ADD_TO_BRIDGE = 0x89A2
HUB = "10.77.0.254"
STARTS_WITHIN = 60.0


@dataclass(frozen=True)
class Node:
    """One engine of the lab: its address is reached from the hub."""

    name: str
    address: str
    engine: Engine
    data: Path


@dataclass(frozen=True)
class Lab:
    """Engines that run; `network` is the hub's."""

    nodes: tuple[Node, ...]
    network: str
    keeper: "subprocess.Popen[str]" = field(repr=False)

    def enter(self, *argv: str) -> tuple[str, ...]:
        """Return a command that runs in the hub."""
        return ("nsenter", f"--net={self.network}", *argv)

    def tell(self, verb: str, node: Node) -> None:
        """Have the keeper do something to a node, and wait until it is done: `kill`, `restart`, `cut` or `join`."""
        assert self.keeper.stdin
        assert self.keeper.stdout
        self.keeper.stdin.write(f"{verb} {node.name}\n")
        self.keeper.stdin.flush()
        assert self.keeper.stdout.readline() == "done\n"

    def docker(self, node: Node, *argv: str, check: bool = True) -> Completed:
        """Run a docker command on a node."""
        return capture(node.engine.command(*argv, timeout=300), check=check)


@contextlib.contextmanager
def running(root: Path, count: int, *, small: str = "") -> Iterator[Lab]:
    """Run engines of the programs unpacked in `root`; the last one keeps its data in memory of a size, as 500m."""
    home = Path(tempfile.mkdtemp(prefix="dockyard-lab-"))
    argv = (sys.executable, "-m", "tests.integration.engine_lab", str(root), str(home), str(count), small)
    path = f"{ROOT}{os.pathsep}{ROOT / 'src'}"
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            argv,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        ) as keeper,
    ):
        try:
            said = keeper.stdout.readline() if keeper.stdout else ""
            assert said, f"the engines did not start:\n{words(log)}"
            told = json.loads(said)
            nodes = tuple(_node(home, name, address, root) for name, address in told["nodes"].items())
            yield Lab(nodes, told["hub"], keeper)
        finally:
            keeper.communicate()
            assert keeper.returncode == 0, f"the engines were not removed from {home}:\n{words(log)}"


def _node(home: Path, name: str, address: str, root: Path) -> Node:
    where = place(home / name)
    environment = install.client_environment(where)
    engine = engines.from_info("lab", lifecycle.ask(where.socket, "/info") or {}, environment)
    return Node(name, address, engine, where.data)


class Room:
    """A network namespace with a host name of its own, and a thread that lives in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pool = ThreadPoolExecutor(1, initializer=self._leave)
        self.thread = self.run(threading.get_native_id)

    def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Return what a function returns inside."""
        return self.pool.submit(work, *arguments).result()

    def _leave(self) -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(NEW_NETWORK | NEW_NAMES):
            number = ctypes.get_errno()
            raise OSError(number, f"no network namespace can be made here: {os.strerror(number)}")
        socket.sethostname(self.name)
        set_up("lo")


def main(arguments: list[str]) -> int:
    """Keep a hub and its nodes until standard input ends, doing what its lines say; then remove all."""
    root, home, count, small = Path(arguments[0]), Path(arguments[1]), int(arguments[2]), arguments[3]
    hub = Room("hub")
    hub.run(make_bridge, HUB)
    rooms = {f"node{number + 1}": Room(f"node{number + 1}") for number in range(count)}
    places = {name: place(home / name) for name in rooms}
    addresses = {name: f"10.77.0.{number + 1}" for number, name in enumerate(rooms)}
    try:
        for name, room in rooms.items():
            hub.run(join, name, room.thread)
            room.run(set_address, "eth0", addresses[name])
            memory = small if name == list(rooms)[-1] else ""
            room.run(start, places[name], root, memory)
        for one in places.values():
            wait(one)
        network = f"/proc/{os.getpid()}/task/{hub.thread}/ns/net"
        print(json.dumps({"hub": network, "nodes": addresses}), flush=True)  # noqa: T201 - to whoever asked for it
        for line in sys.stdin:
            verb, name = line.split()
            if verb in {"kill", "restart"}:
                kill(places[name])
                if verb == "restart":
                    rooms[name].run(launch, places[name])
                    wait(places[name])
            else:
                hub.run(set_up, f"to-{name}", verb == "join")
            print("done", flush=True)  # noqa: T201 - to whoever asked for it
    finally:
        with ThreadPoolExecutor() as pool:
            list(pool.map(kill, places.values()))  # what runs there would take its time to stop
            list(pool.map(functools.partial(lifecycle.stop, delete=True), places.values()))
        shutil.rmtree(home, ignore_errors=True)
    return 0


def start(where: Place, root: Path, memory: str) -> None:
    """Start an engine in this thread's network; `memory` is the size of a file system in memory for its data."""
    where.home.mkdir(parents=True)
    where.root.symlink_to(root)
    install.lay_out(where)
    if memory:
        capture(Command(("mount", "-t", "tmpfs", "-o", f"size={memory}", "tmpfs", str(where.data))))
    settings = {
        "features": {"containerd-snapshotter": True},
        "data-root": str(where.data),
        "exec-root": str(where.exec_root),
        "pidfile": str(where.run / "docker.pid"),
        "hosts": [f"unix://{where.socket}"],
        "group": "root",
        "init-path": str(where.links / "docker-init"),
        "userland-proxy-path": str(where.root / "usr/sbin/docker-proxy"),
        "insecure-registries": ["10.77.0.0/24"],
        "shutdown-timeout": 5,
    }
    where.settings.write_text(json.dumps(settings), "utf-8")
    launch(where)


def launch(where: Place) -> None:
    """Start an engine that has its settings, in this thread's network."""
    dockerd = (str(where.root / "usr/sbin/dockerd"), "--config-file", str(where.settings))
    process.detach(Command(dockerd, cwd=Path("/"), env=install.daemon_environment(where, os.environ)), where.log)


def kill(where: Place) -> None:
    """Kill an engine and all that it runs, as a machine dies."""
    found = processes.running()
    processes.kill(processes.belonging(found, where) | processes.contained(found, where))


def wait(where: Place) -> None:
    """Wait until an engine answers."""
    deadline = time.monotonic() + STARTS_WITHIN
    while lifecycle.ask(where.socket, "/info") is None:
        assert time.monotonic() < deadline, lifecycle.tail(where.log)
        time.sleep(0.1)


def make_bridge(address: str) -> None:
    """Make a bridge with an address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        ioctl(control, ADD_BRIDGE, b"lab0\0")
    set_address("lab0", address)


def set_address(name: str, address: str) -> None:
    """Give an interface its address in a network of 256, and bring it up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for number, text in ((SET_ADDRESS, address), (SET_NETMASK, "255.255.255.0")):
            ioctl(control, number, struct.pack("16sHH4s16x", name.encode(), socket.AF_INET, 0, socket.inet_aton(text)))
    set_up(name)


def set_up(name: str, up: bool = True) -> None:
    """Bring an interface up, or down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        flags = struct.unpack("16sh22x", ioctl(control, GET_FLAGS, struct.pack("16sh22x", name.encode(), 0)))[1]
        ioctl(control, SET_FLAGS, struct.pack("16sh22x", name.encode(), flags | UP if up else flags & ~UP))


def join(name: str, thread: int) -> None:
    """Make a cable from the bridge of this network to `eth0` of the network that a thread lives in (rtnetlink)."""

    def attribute(kind: int, content: bytes) -> bytes:
        head = struct.pack("HH", len(content) + 4, kind)
        return head + content + bytes(-len(content) % 4)

    interface = struct.pack("BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)
    far = interface + attribute(3, b"eth0\0") + attribute(19, struct.pack("I", thread))
    link = attribute(1, b"veth") + attribute(2, attribute(1, far))
    body = interface + attribute(3, f"to-{name}".encode() + b"\0") + attribute(18, link)
    new_link, create = 16, 0x0605  # request, acknowledge, create, exclusively
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.send(struct.pack("IHHII", len(body) + 16, new_link, create, 1, 0) + body)
        number = -struct.unpack("i", netlink.recv(65536)[16:20])[0]
    if number:
        raise OSError(number, f"no pair of interfaces can be made: {os.strerror(number)}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        index = socket.if_nametoindex(f"to-{name}")
        ioctl(control, ADD_TO_BRIDGE, struct.pack("16si20x", b"lab0", index))
    set_up(f"to-{name}")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
