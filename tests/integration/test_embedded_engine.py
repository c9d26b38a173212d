"""The whole life of an embedded engine, in a network namespace of its own so that no other engine is disturbed."""

import contextlib
import ctypes
import io
import os
import signal
import socket
import struct
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fcntl import ioctl
from pathlib import Path

import pytest

from dockyard import files
from dockyard import process as execute
from dockyard.apt import codename
from dockyard.engine import client as engine
from dockyard.engine.client import Engine
from dockyard.engine.embedded import install, lifecycle, network, processes
from dockyard.engine.embedded.install import Place
from dockyard.errors import EngineError
from dockyard.process import Command
from dockyard.settings import Settings
from tests.integration import second_engine
from tests.integration.debian_packages import provide_packages

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="the embedded engine needs root"),
    pytest.mark.skipif(execute.which("apt-get") is None, reason="the embedded engine needs apt"),
]

GET_HARDWARE_ADDRESS = 0x8927
NEW_NETWORK = 0x40000000
FOREIGN = "-s 192.0.2.77/32 -j ACCEPT"
PORT = 18080


@dataclass(frozen=True)
class Host:
    """What an engine may change outside its own folders."""

    processes: frozenset[str]
    mounts: tuple[str, ...]
    interfaces: frozenset[str]
    rules: tuple[str, ...]
    forwarding: str


@dataclass(frozen=True)
class Downloads:
    """Unpacked packages: those of an engine, which stay the user's own where that has them, and a static busybox."""

    root: Path
    busybox: Path

    def install(self, place: Place) -> None:
        """Let an engine find its packages at its place: by a link, for they are large and nobody writes there."""
        place.home.mkdir(parents=True)
        place.root.symlink_to(self.root)
        place.recipe.write_text(install.recipe(codename()), "utf-8")


@pytest.fixture(scope="module")
def downloads() -> Downloads:
    """Return the packages that every test here needs."""
    busybox = provide_packages(f"busybox-static/{codename()}")
    return Downloads(second_engine.provide_engine(), busybox / "bin/busybox")


@pytest.fixture(scope="module")
def own_network(downloads: Downloads) -> Iterator[None]:
    """Move this thread, and what it starts, into a network that has nothing but a loopback."""
    library = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open("rb") as previous:
        if library.unshare(NEW_NETWORK):
            pytest.skip(f"no network namespace can be made here: {os.strerror(ctypes.get_errno())}")
        try:
            with socket.socket() as control:
                flags = struct.pack("16sh22x", b"lo", network.UP)
                ioctl(control, network.SET_FLAGS, flags)
            yield
        finally:
            library.setns(previous.fileno(), NEW_NETWORK)


@pytest.fixture
def place(own_network: None, downloads: Downloads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Return the place of an engine whose packages are unpacked; whatever a test leaves is removed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    where = install.here()
    downloads.install(where)
    yield where
    lifecycle.stop(delete=True)


def host(place: Place) -> Host:
    """Return the host as it is now."""
    programs = {name: rules(place, name) for name in ("iptables", "ip6tables")}
    running = processes.running()
    return Host(
        processes=frozenset(
            " ".join(process.argv)
            for process in running.values()
            if process.pid in processes.belonging(running, place) | processes.contained(running, place)
        ),
        mounts=tuple(files.list_mounts((place.home, place.run))),
        interfaces=frozenset(network.list_interfaces()),
        rules=tuple(f"{name}: {rule}" for name, found in programs.items() for rule in found),
        forwarding=Path("/proc/sys/net/ipv4/ip_forward").read_text("ascii").strip(),
    )


def rules(place: Place, program: str) -> list[str]:
    """Return every rule, policy and chain of Docker's that a firewall has."""
    if not (place.links / f"{program}-save").exists():
        install.lay_out(place)
    tables = network.parse_rules(install.firewall(place, f"{program}-save").stdout)
    return [
        f"{name} {line}"
        for name, table in tables.items()
        for line in table.elements()
        if line.startswith("-A ") or not line.endswith(" ACCEPT")
    ]


def started() -> Engine:
    """Start the embedded engine and return it as the pipeline sees it."""
    return engine.from_info("embedded", lifecycle.start(), install.client_environment(install.here()))


def docker(found: Engine, *argv: str, stdin: bytes = b"") -> str:
    """Run a docker command and return what it printed."""
    return execute.capture(found.command(*argv, input=stdin, timeout=60)).stdout.strip()


def load_image(found: Engine, downloads: Downloads) -> None:
    """Make an image that holds a static busybox and a page."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(downloads.busybox, "bin/busybox")
        page = tarfile.TarInfo("www/index.html")
        page.size = len(b"hello")
        tar.addfile(page, io.BytesIO(b"hello"))
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(folder)
    docker(found, "import", "-", "tiny", stdin=archive.getvalue())


def serve(found: Engine) -> None:
    """Start a web server on a published port, and a second container on a network of its own."""
    options = ("--detach", "--init", "--publish", f"127.0.0.1:{PORT}:80")
    docker(found, "run", *options, "tiny", "/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www")
    docker(found, "network", "create", "extra")
    docker(found, "run", "--detach", "--init", "--network", "extra", "tiny", "/bin/busybox", "sleep", "600")


def page() -> str:
    """Fetch the published page."""
    for _ in range(50):
        with contextlib.suppress(OSError):
            return str(urllib.request.urlopen(f"http://127.0.0.1:{PORT}/", timeout=5).read(), "ascii")
        time.sleep(0.1)
    return "nothing answers"


def test_a_whole_life(place: Place, downloads: Downloads) -> None:
    """Start, run, publish, stop without a trace, start again with the images kept, and remove."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0", "ascii")
    install.lay_out(place)
    assert install.firewall(place, "iptables", "-A", "FORWARD", *FOREIGN.split()).ok
    untouched = host(place)
    found = started()
    assert found.snapshotter
    assert docker(found, "version", "--format", "{{.Server.Version}}").startswith(found.version)
    assert docker(found, "buildx", "version")
    assert docker(found, "compose", "version")
    with contextlib.closing(found.client()) as client:
        assert client.ping()
    load_image(found, downloads)
    assert docker(found, "run", "--rm", "tiny", "/bin/busybox", "echo", "it runs") == "it runs"
    serve(found)
    assert page() == "hello"
    status = lifecycle.status()
    assert status.running
    assert status.containers == 2
    assert status.pid in processes.running()
    sockets = list(lifecycle.shim_sockets(place.exec_root))
    assert len(sockets) == 2
    assert lifecycle.stop()
    assert host(place) == untouched
    assert not any(path.exists() for path in sockets)
    assert not lifecycle.stop()
    assert not lifecycle.status().running
    assert docker(started(), "images", "--quiet", "tiny")
    assert lifecycle.stop(delete=True)
    assert not place.home.exists()
    assert not place.run.exists()


def test_the_bridge_keeps_its_hardware_address(place: Place, downloads: Downloads) -> None:
    """Containers that come and go leave it alone: those that run would go on sending to the address that was."""
    found = started()
    load_image(found, downloads)
    (name,) = (each for each in network.list_interfaces() if each.startswith("dockyard"))
    first = hardware_address(name)
    with ThreadPoolExecutor(4) as threads:
        run = ("run", "--detach", "--init", "tiny", "/bin/busybox", "sleep", "600")
        running = list(threads.map(lambda _: docker(found, *run), range(4)))
    assert hardware_address(name) == first
    for container in running[:2]:
        docker(found, "rm", "--force", container)
        assert hardware_address(name) == first


def hardware_address(name: str) -> bytes:
    """Return the hardware address of an interface of this thread's network."""
    with socket.socket() as control:
        return ioctl(control, GET_HARDWARE_ADDRESS, struct.pack("16s24x", name.encode()))[18:24]


def test_a_killed_engine_is_cleaned_up_after(place: Place, downloads: Downloads, tmp_path: Path) -> None:
    """A daemon that dies with containers and a build running leaves nothing behind once it is stopped."""
    untouched = host(place)
    found = started()
    load_image(found, downloads)
    serve(found)
    (tmp_path / "Dockerfile").write_text('FROM tiny\nRUN ["/bin/busybox", "sleep", "600"]\n', "utf-8")
    command = found.command("buildx", "build", "--network", "none", "--progress", "plain", str(tmp_path))
    execute.detach(replace(command, cwd=tmp_path), tmp_path / "build.log")
    wait_for_build(place)
    pid = lifecycle.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while processes.is_alive(pid):
        time.sleep(0.01)
    assert len(network.list_interfaces()) > len(untouched.interfaces)
    sockets = list(lifecycle.shim_sockets(place.exec_root))
    assert len(sockets) == 2
    assert lifecycle.stop()
    assert host(place) == untouched
    assert not any(path.exists() for path in sockets)
    assert docker(started(), "images", "--quiet", "tiny")


def wait_for_build(place: Place) -> None:
    """Wait until the build's own process sleeps in its container."""
    for _ in range(200):
        running = processes.running()
        if any(running[pid].argv[-2:] == ("sleep", "600") and not in_container(pid) for pid in inside(running, place)):
            return
        time.sleep(0.05)
    raise AssertionError("the build did not start")


def inside(running: dict[int, processes.Process], place: Place) -> set[int]:
    """Return the processes that run on a layer of the engine."""
    return processes.contained(running, place)


def in_container(pid: int) -> bool:
    """Tell whether a process was started by a container, and not by a build."""
    parent = processes.running().get(pid)
    shim = processes.running().get(parent.parent) if parent else None
    return shim is not None and shim.name.startswith("containerd-shim")


def test_two_starts_at_once_make_one_engine(place: Place) -> None:
    """Whoever comes second waits, and gets the engine of the first."""
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda _: lifecycle.start(), range(2)))
    assert answers[0]["ID"] == answers[1]["ID"]
    ours = [process for process in processes.running().values() if str(place.settings) in process.argv]
    assert len(ours) == 1


def test_a_second_engine_is_refused(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine of another cache would break the first one's network, so it does not start."""
    started()
    with monkeypatch.context() as other:
        other.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
        with pytest.raises(EngineError, match="another Docker Engine runs here"):
            lifecycle.start()
    assert lifecycle.status().running


def test_a_long_cache_path_gets_a_short_socket(
    place: Place, downloads: Downloads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unix socket's path has 107 bytes: below a deep cache folder the engine listens elsewhere."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ("deep" * 30)))
    where = install.here()
    assert len(str(where.socket)) < 108
    downloads.install(where)
    try:
        assert docker(started(), "version")
        assert where.run.parent == Path("/run")
    finally:
        lifecycle.stop(delete=True)
    assert not where.run.exists()
    assert not where.home.exists()


def test_a_daemon_that_cannot_start_tells_why_and_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error holds the daemon's own last words."""
    untouched = host(place)
    broken = {"no-such-key": True}
    monkeypatch.setattr(install, "daemon_settings", lambda *_, **__: broken)
    with pytest.raises(EngineError, match="no-such-key"):
        lifecycle.start()
    assert not place.run.exists()
    assert host(place) == untouched


def test_find_is_quick_when_the_engine_runs(
    place: Place, settings: Settings, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    """With the embedded engine running, finding it starts no process at all."""
    started()
    said.clear()
    with monkeypatch.context() as patch:
        patch.setattr(engine, "DEFAULT_SOCKET", place.home / "nothing")
        patch.setenv("HOME", str(place.home))
        patch.setattr(execute, "capture", fail)
        found = engine.find_engine(settings)
    assert found.kind == "embedded"
    assert len(said) == 1
    assert found.version in said[0]


def fail(command: Command, **_options: object) -> None:
    """Stand in for a function that must not be called."""
    raise AssertionError(command.display())
